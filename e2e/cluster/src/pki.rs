//! Certificates: one authority, one server, any number of users.

use std::{fs, net::Ipv4Addr, path::Path};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

/// What a virtual machine on QEMU's user network calls the loopback of its host.
pub const HOST_OF_VM: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// The address of the Service `kubernetes`, by which pods know the API server.
pub const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// A certificate and its key, both in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// The authority that the control plane trusts.
pub struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// A new authority.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "vrfgate test authority");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)
            .context("making the certificate authority")?;
        Ok(Self { authority })
    }

    /// The authority's certificate in PEM.
    pub fn authority(&self) -> String {
        self.authority.pem()
    }

    /// A server on 127.0.0.1, for this host, for virtual machines on it and for their pods.
    pub fn server(&self) -> anyhow::Result<Identity> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        for address in [Ipv4Addr::LOCALHOST, HOST_OF_VM, API_SERVICE] {
            params
                .subject_alt_names
                .push(SanType::IpAddress(address.into()));
        }
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    /// A user of Kubernetes, and the group it belongs to.
    pub fn user(&self, name: &str, group: &str) -> anyhow::Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> anyhow::Result<Identity> {
        let key = KeyPair::generate()?;
        let certificate = params
            .signed_by(&key, &self.authority)
            .context("signing a certificate")?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// Writes the key pair of service account tokens as `NAME.key` and `NAME.pub`.
pub fn write_token_keys(directory: &Path, name: &str) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    write(directory, &format!("{name}.key"), &key.serialize_pem())?;
    write(directory, &format!("{name}.pub"), &key.public_key_pem())
}

/// Writes `text` to a file of `directory`.
pub fn write(directory: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = directory.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}
