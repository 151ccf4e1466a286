//! Addresses that are asked for by programs in search of somebody else's mistakes. None of them is or will be ours.

/// First parts of paths.
const FIRST: [&str; 30] = [
    "cgi-bin",
    "phpmyadmin",
    "pma",
    "wordpress",
    "wp",
    "xmlrpc",
    "actuator",
    "solr",
    "jenkins",
    "manager",
    "hudson",
    "boaform",
    "hnap1",
    "owa",
    "ecp",
    "autodiscover",
    "vendor",
    "server-status",
    "server-info",
    "struts",
    "geoserver",
    "druid",
    "nacos",
    "telescope",
    "_ignition",
    "debug",
    "shell",
    "containers",
    "sdk",
    "remote",
];
/// Ends of file names: programs, secrets and copies of them.
const ENDS: [&str; 20] = [
    ".php", ".asp", ".aspx", ".ashx", ".jsp", ".jspx", ".cgi", ".do", ".action", ".env", ".ini", ".sql",
    ".bak", ".old", ".swp", ".pem", ".key", ".yml", ".cfg", ".conf",
];

/// Whether a decoded path off the API is one of those.
#[must_use]
pub fn is_wanted_by(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let last = parts.clone().next_back().unwrap_or_default();
    let first = parts.clone().next().unwrap_or_default();
    FIRST.contains(&first)
        || first.starts_with("wp-")
        || ENDS.iter().any(|end| last.ends_with(end))
        // Files nobody is to see: /.env, /.git/config, /app/.aws/credentials.
        || parts.any(|part| part.starts_with('.') && part != ".well-known")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanners_are_told_from_people() {
        for path in [
            "/.env",
            "/.git/config",
            "/app/.aws/credentials",
            "/wp-login.php",
            "/WP-Admin/setup.PHP",
            "/cgi-bin/luci",
            "/x/shell.jsp",
            "/phpMyAdmin/",
            "/actuator/health",
            "/HNAP1/",
            "/backup.sql",
            "//wp-includes/x",
            "/server.key",
        ] {
            assert!(is_wanted_by(path), "{path}");
        }
        for path in [
            "/",
            "/j/123",
            "/account",
            "/favicon.ico",
            "/robots.txt",
            "/.well-known/security.txt",
            "/assets/index-a.b.js",
            "/apple-touch-icon.png",
            "/manifest.webmanifest",
            "/j/12..3",
            "/wpx",
            "/environment",
        ] {
            assert!(!is_wanted_by(path), "{path}");
        }
    }
}
