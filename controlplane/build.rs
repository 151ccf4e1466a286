//! Makes the crate build where the web client was not built: leaves a page in its place that says how.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

const PLACEHOLDER: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>kaigi</title>\
<p>The web client was not built into this binary. Run <code>make run</code>, or <code>npm ci &amp;&amp; npm run build</code> \
in <code>controlplane/web</code>, and build again.</p></html>\n";

fn main() {
    println!("cargo::rerun-if-changed=web/dist");
    let page = Path::new("web/dist/index.html");
    if !page.exists() {
        // As old as can be, so that the real page is newer than the sources and this one is not.
        let written = fs::create_dir_all("web/dist")
            .and_then(|()| fs::write(page, PLACEHOLDER))
            .and_then(|()| fs::File::options().write(true).open(page)?.set_modified(SystemTime::UNIX_EPOCH));
        if let Err(error) = written {
            println!("cargo::warning=cannot write {}: {error}", page.display());
        }
    }
}
