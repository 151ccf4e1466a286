//! Certificates: loaded from PEM files, replaced while running.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsFiles;

/// Why a certificate cannot be used: one line with a remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// The TLS configuration of new connections.
pub struct TlsSlot(RwLock<Arc<ServerConfig>>);

impl TlsSlot {
    /// Loads certificate and key.
    ///
    /// # Errors
    /// Which file is wrong and how.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self(RwLock::new(server_config(files)?)))
    }

    /// Loads them again; new connections use what is there now. On error the old ones stay.
    ///
    /// # Errors
    /// Which file is wrong and how.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), TlsError> {
        let fresh = server_config(files)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// The configuration for the next connection.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let open = |path: &Path, flag: &str| {
        File::open(path).map(BufReader::new).map_err(|error| {
            TlsError(format!(
                "cannot read {flag} {}: {error}; check the path and its permissions",
                path.display()
            ))
        })
    };
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_reader_iter(open(&files.cert, "--tls-cert")?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| {
        TlsError(format!(
            "--tls-cert {} holds no PEM certificate; give the chain, leaf first",
            files.cert.display()
        ))
    })?;
    let key = PrivateKeyDer::from_pem_reader(open(&files.key, "--tls-key")?).map_err(|_| {
        TlsError(format!(
            "--tls-key {} holds no PEM private key (PKCS#8, PKCS#1 or SEC1)",
            files.key.display()
        ))
    })?;
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).map_err(|error| {
            TlsError(format!(
                "--tls-cert {} and --tls-key {} do not go together: {error}",
                files.cert.display(),
                files.key.display()
            ))
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
