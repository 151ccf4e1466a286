//! The system's OpenSSL 3, as a C program would use it by hand: AES through EVP and HMAC-SHA1, with one context for each key that
//! is made once and reused for every packet.
//!
//! The library is opened when the benchmark runs. So nothing must be installed to build, and a host without it has a table
//! without its column. Declarations are those of OpenSSL 3's `evp.h` and `hmac.h`, which its ABI keeps for all of 3.x.
#![expect(unsafe_code, reason = "a C library that is opened at run time has no safe form")]

use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void};
use std::marker::PhantomData;
use std::mem;
use std::ptr;

/// `EVP_CTRL_AEAD_GET_TAG` and `EVP_CTRL_AEAD_SET_TAG`.
const GET_TAG: c_int = 0x10;
const SET_TAG: c_int = 0x11;

/// A structure of OpenSSL's that we only point to.
#[repr(C)]
struct Opaque(c_void);

type Init = unsafe extern "C" fn(
    *mut Opaque,
    *const Opaque,
    *const Opaque,
    key: *const c_uchar,
    iv: *const c_uchar,
) -> c_int;
type Update =
    unsafe extern "C" fn(*mut Opaque, *mut c_uchar, *mut c_int, *const c_uchar, bytes: c_int) -> c_int;
type Final = unsafe extern "C" fn(*mut Opaque, *mut c_uchar, *mut c_int) -> c_int;
type New = unsafe extern "C" fn() -> *mut Opaque;
type Free = unsafe extern "C" fn(*mut Opaque);
type Control = unsafe extern "C" fn(*mut Opaque, c_int, c_int, *mut c_void) -> c_int;
type HmacInit =
    unsafe extern "C" fn(*mut Opaque, *const c_void, c_int, *const Opaque, *const Opaque) -> c_int;
type HmacUpdate = unsafe extern "C" fn(*mut Opaque, *const c_uchar, usize) -> c_int;
type HmacFinal = unsafe extern "C" fn(*mut Opaque, *mut c_uchar, *mut c_uint) -> c_int;
type Version = unsafe extern "C" fn(c_int) -> *const c_char;
type Algorithm = unsafe extern "C" fn() -> *const Opaque;

/// The functions we call.
#[derive(Clone, Copy)]
pub struct OpenSsl {
    context_new: New,
    context_free: Free,
    control: Control,
    encrypt_init: Init,
    encrypt_update: Update,
    encrypt_final: Final,
    decrypt_init: Init,
    decrypt_update: Update,
    decrypt_final: Final,
    aes_128_ctr: Algorithm,
    aes_128_gcm: Algorithm,
    aes_256_gcm: Algorithm,
    sha1: Algorithm,
    hmac_new: New,
    hmac_free: Free,
    hmac_init: HmacInit,
    hmac_update: HmacUpdate,
    hmac_final: HmacFinal,
    version: Version,
}

/// Which way a context goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Encrypts.
    Seal,
    /// Decrypts.
    Open,
}

impl OpenSsl {
    /// Opens the library, for the life of the process; none when the host has none.
    pub fn load() -> Option<Self> {
        // SAFETY: the name ends in a zero byte; libcrypto's constructors ask nothing of us.
        let library = unsafe { libc::dlopen(c"libcrypto.so.3".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return None;
        }
        macro_rules! function {
            ($name:literal as $type:ty) => {{
                // SAFETY: the library is open and the name ends in a zero byte.
                let address = unsafe { libc::dlsym(library, $name.as_ptr()) };
                if address.is_null() {
                    return None;
                }
                // SAFETY: the address is that of the function of this name, whose declaration in OpenSSL 3 is the field's type.
                unsafe { mem::transmute::<*mut c_void, $type>(address) }
            }};
        }
        Some(Self {
            context_new: function!(c"EVP_CIPHER_CTX_new" as New),
            context_free: function!(c"EVP_CIPHER_CTX_free" as Free),
            control: function!(c"EVP_CIPHER_CTX_ctrl" as Control),
            encrypt_init: function!(c"EVP_EncryptInit_ex" as Init),
            encrypt_update: function!(c"EVP_EncryptUpdate" as Update),
            encrypt_final: function!(c"EVP_EncryptFinal_ex" as Final),
            decrypt_init: function!(c"EVP_DecryptInit_ex" as Init),
            decrypt_update: function!(c"EVP_DecryptUpdate" as Update),
            decrypt_final: function!(c"EVP_DecryptFinal_ex" as Final),
            aes_128_ctr: function!(c"EVP_aes_128_ctr" as Algorithm),
            aes_128_gcm: function!(c"EVP_aes_128_gcm" as Algorithm),
            aes_256_gcm: function!(c"EVP_aes_256_gcm" as Algorithm),
            sha1: function!(c"EVP_sha1" as Algorithm),
            hmac_new: function!(c"HMAC_CTX_new" as New),
            hmac_free: function!(c"HMAC_CTX_free" as Free),
            hmac_init: function!(c"HMAC_Init_ex" as HmacInit),
            hmac_update: function!(c"HMAC_Update" as HmacUpdate),
            hmac_final: function!(c"HMAC_Final" as HmacFinal),
            version: function!(c"OpenSSL_version" as Version),
        })
    }

    /// What the library calls itself.
    pub fn version(self) -> String {
        // SAFETY: 0 is `OPENSSL_VERSION`, which always has a text.
        let text = unsafe { (self.version)(0) };
        // SAFETY: the text is static and ends in a zero byte.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    /// AES-GCM under a key of 16 or 32 bytes, one way.
    pub fn gcm(self, key: &[u8], direction: Direction) -> Gcm {
        let algorithm = match key.len() {
            16 => self.aes_128_gcm,
            32 => self.aes_256_gcm,
            other => panic!("an AES key of {other} bytes"),
        };
        Gcm(self.cipher(algorithm, key, direction))
    }

    /// AES-128 in counter mode, then HMAC-SHA1, each under its key.
    pub fn ctr_hmac(self, key: &[u8; 16], auth: &[u8]) -> CtrHmac {
        // SAFETY: has no arguments.
        let mac = unsafe { (self.hmac_new)() };
        assert!(!mac.is_null(), "OpenSSL has memory for a context");
        // SAFETY: has no arguments.
        let sha1 = unsafe { (self.sha1)() };
        let bytes = c_int::try_from(auth.len()).expect("a short key");
        // SAFETY: the context is new, the key is readable for its bytes, and no engine is null.
        let done = unsafe { (self.hmac_init)(mac, auth.as_ptr().cast(), bytes, sha1, ptr::null()) };
        assert_eq!(done, 1, "OpenSSL takes the key");
        CtrHmac { cipher: self.cipher(self.aes_128_ctr, key, Direction::Seal), mac }
    }

    fn cipher(self, algorithm: Algorithm, key: &[u8], direction: Direction) -> Cipher {
        // SAFETY: has no arguments.
        let context = unsafe { (self.context_new)() };
        assert!(!context.is_null(), "OpenSSL has memory for a context");
        // SAFETY: has no arguments.
        let algorithm = unsafe { algorithm() };
        let init = if direction == Direction::Seal { self.encrypt_init } else { self.decrypt_init };
        // SAFETY: the context is new; the key is as long as the algorithm's (each caller matches on it); no engine and no vector
        // yet are null.
        let done = unsafe { init(context, algorithm, ptr::null(), key.as_ptr(), ptr::null()) };
        assert_eq!(done, 1, "OpenSSL takes the key");
        Cipher { library: self, context, not_shared: PhantomData }
    }
}

/// A cipher's context with its key.
struct Cipher {
    library: OpenSsl,
    context: *mut Opaque,
    not_shared: PhantomData<*mut ()>,
}

impl Drop for Cipher {
    fn drop(&mut self) {
        // SAFETY: the context came from `context_new` and nobody else has it.
        unsafe { (self.library.context_free)(self.context) };
    }
}

impl Cipher {
    /// Starts a packet with `iv`, which is as long as the algorithm's (12 bytes for GCM, 16 for counter mode).
    fn start(&mut self, init: Init, iv: &[u8]) {
        // SAFETY: the context is alive with key and algorithm; `iv` is long enough as said above; null keeps what is set.
        let done = unsafe { init(self.context, ptr::null(), ptr::null(), ptr::null(), iv.as_ptr()) };
        assert_eq!(done, 1, "OpenSSL takes the vector");
    }

    /// Transforms `from` to the start of `to`; without `to`, authenticates `from`.
    fn update(&mut self, update: Update, from: &[u8], to: Option<&mut [u8]>) {
        let to = to.map_or(ptr::null_mut(), |to| {
            assert!(to.len() >= from.len(), "room for the text");
            to.as_mut_ptr()
        });
        self.update_at(update, from.as_ptr(), from.len(), to);
    }

    /// Transforms `text` in place.
    fn update_in_place(&mut self, update: Update, text: &mut [u8]) {
        let at = text.as_mut_ptr();
        self.update_at(update, at, text.len(), at);
    }

    fn update_at(&mut self, update: Update, from: *const c_uchar, bytes: usize, to: *mut c_uchar) {
        let bytes = c_int::try_from(bytes).expect("a packet");
        let mut written = 0;
        // SAFETY: `from` is readable and `to`, if not null, writable for `bytes` (both callers); in place is allowed; a
        // stream cipher writes as many bytes as it reads.
        let done = unsafe { update(self.context, to, &raw mut written, from, bytes) };
        assert_eq!((done, written), (1, bytes), "OpenSSL transforms the text");
    }

    /// Ends a packet: true when the tag is good, or always when encrypting.
    fn end(&mut self, end: Final) -> bool {
        let (mut nothing, mut written) = ([0; 16], 0);
        // SAFETY: a stream cipher has nothing left to write, and a block of room if it had.
        unsafe { end(self.context, nothing.as_mut_ptr(), &raw mut written) == 1 }
    }
}

/// AES-GCM with tags of 16 bytes.
pub struct Gcm(Cipher);

impl Gcm {
    /// Seals `text` to `out`: ciphertext || tag.
    pub fn seal(&mut self, iv: &[u8; 12], aad: &[u8], text: &[u8], out: &mut [u8]) {
        let library = self.0.library;
        let (room, rest) = out.split_at_mut(text.len());
        let tag: &mut [u8; 16] = rest.first_chunk_mut().expect("room for the tag");
        self.0.start(library.encrypt_init, iv);
        self.0.update(library.encrypt_update, aad, None);
        self.0.update(library.encrypt_update, text, Some(room));
        assert!(self.0.end(library.encrypt_final), "OpenSSL encrypts");
        // SAFETY: the tag is writable for the 16 bytes asked for.
        let done = unsafe { (library.control)(self.0.context, GET_TAG, 16, tag.as_mut_ptr().cast()) };
        assert_eq!(done, 1, "OpenSSL has a tag");
    }

    /// Opens ciphertext || tag in place: false when the tag is bad.
    pub fn open(&mut self, iv: &[u8; 12], aad: &[u8], sealed: &mut [u8]) -> bool {
        let library = self.0.library;
        let (text, tag) = sealed.split_last_chunk_mut::<16>().expect("a tag");
        self.0.start(library.decrypt_init, iv);
        self.0.update(library.decrypt_update, aad, None);
        self.0.update_in_place(library.decrypt_update, text);
        // SAFETY: the tag is readable for the 16 bytes given, which OpenSSL copies.
        let done = unsafe { (library.control)(self.0.context, SET_TAG, 16, tag.as_mut_ptr().cast()) };
        done == 1 && self.0.end(library.decrypt_final)
    }
}

/// AES-128 in counter mode and HMAC-SHA1.
pub struct CtrHmac {
    cipher: Cipher,
    mac: *mut Opaque,
}

impl Drop for CtrHmac {
    fn drop(&mut self) {
        // SAFETY: the context came from `hmac_new` and nobody else has it.
        unsafe { (self.cipher.library.hmac_free)(self.mac) };
    }
}

impl CtrHmac {
    /// Xors the key stream from `iv` on onto `text`, to `out`.
    pub fn apply(&mut self, iv: &[u8; 16], text: &[u8], out: &mut [u8]) {
        self.cipher.start(self.cipher.library.encrypt_init, iv);
        self.cipher.update(self.cipher.library.encrypt_update, text, Some(out));
    }

    /// Xors the key stream from `iv` on onto `text`.
    pub fn apply_in_place(&mut self, iv: &[u8; 16], text: &mut [u8]) {
        self.cipher.start(self.cipher.library.encrypt_init, iv);
        self.cipher.update_in_place(self.cipher.library.encrypt_update, text);
    }

    /// The MAC of the concatenation of `parts`.
    pub fn mac(&mut self, parts: &[&[u8]]) -> [u8; 20] {
        let library = self.cipher.library;
        // SAFETY: the context is alive with key and digest, which nulls keep: OpenSSL starts from the hashed key.
        let done = unsafe { (library.hmac_init)(self.mac, ptr::null(), 0, ptr::null(), ptr::null()) };
        assert_eq!(done, 1, "OpenSSL starts a MAC");
        for part in parts {
            // SAFETY: the part is readable for its bytes.
            let done = unsafe { (library.hmac_update)(self.mac, part.as_ptr(), part.len()) };
            assert_eq!(done, 1, "OpenSSL hashes");
        }
        let (mut mac, mut bytes) = ([0; 20], 0);
        // SAFETY: SHA-1 writes 20 bytes.
        let done = unsafe { (library.hmac_final)(self.mac, mac.as_mut_ptr(), &raw mut bytes) };
        assert_eq!((done, bytes), (1, 20), "OpenSSL has a MAC");
        mac
    }
}
