//! Why the service refuses or fails. Knows no status codes: the edge turns these into problem documents.

use crate::auth::TokenError;
use crate::store::StoreError;

/// One field of a request that cannot be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request body.
    pub pointer: String,
    /// What is wrong, for people.
    pub detail: String,
}

impl FieldError {
    /// An error about the field at `pointer`.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Why a call was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ServiceError {
    /// The call needs to know who asks.
    #[error("this needs a Bearer token")]
    NoToken,
    /// The token does not count.
    #[error("{0}")]
    BadToken(TokenError),
    /// The token's person no longer exists.
    #[error("the token's user no longer exists")]
    UnknownUser,
    /// The caller is known and may not do this.
    #[error("only the host of the meeting may do this")]
    NotHost,
    /// The token was made for less.
    #[error("this token is not good for that")]
    OutOfScope,
    /// The meeting wants a passcode.
    #[error("the meeting needs a passcode")]
    PasscodeRequired,
    /// The passcode is another.
    #[error("the passcode is wrong")]
    WrongPasscode,
    /// No such meeting; also after it was deleted.
    #[error("there is no such meeting")]
    NoSuchMeeting,
    /// The meeting was ended.
    #[error("the meeting has ended")]
    Ended,
    /// The meeting has begun, so its start cannot move.
    #[error("the meeting is in progress; its start can no longer change")]
    InProgress,
    /// The meeting holds as many as it may.
    #[error("the meeting is full")]
    Full,
    /// Fields that cannot be taken.
    #[error("some fields are invalid")]
    Invalid(Vec<FieldError>),
    /// A field asks for something of a later version.
    #[error("{detail}")]
    NotYetSupported {
        /// JSON pointer to the field.
        pointer: &'static str,
        /// What is missing.
        detail: &'static str,
    },
    /// No such account.
    #[error("there is no such user")]
    NoSuchUser,
    /// Address and password are not those of an account. Deliberately says no more.
    #[error("the address or the password is wrong")]
    WrongCredentials,
    /// The present password, asked for again, is another.
    #[error("the present password is wrong")]
    WrongPassword,
    /// Signing in takes a code as well.
    #[error("this account needs a code of its authenticator app, or a recovery code")]
    CodeRequired,
    /// The code is wrong, of another time, or was used before.
    #[error("the code is wrong, too old, or was used before")]
    WrongCode,
    /// Codes were not asked for, or not confirmed.
    #[error("no authenticator app is set up; begin with a POST to /users/me/totp")]
    NoSecondFactor,
    /// An admin who takes codes off the own account shows one.
    #[error("your own codes are turned off with one of them, in your account")]
    OwnCodes,
    /// Codes are asked for already.
    #[error("an authenticator app is set up already; remove it first")]
    SecondFactorOn,
    /// Too many guesses from there.
    #[error("too many attempts; try again in {seconds} s")]
    TooManyAttempts {
        /// How long to wait.
        seconds: u64,
    },
    /// The account made as many meetings today as it may.
    #[error(
        "{limit} meetings were created today, which is the most; the next one may be created in {seconds} s"
    )]
    TooManyMeetings {
        /// The most of a day.
        limit: u32,
        /// How long until the next day.
        seconds: u64,
    },
    /// An admin disabled the account.
    #[error("the account is disabled; ask an admin of this server")]
    AccountDisabled,
    /// The caller is known and no admin.
    #[error("only an admin of this server may do this")]
    NotAdmin,
    /// Nobody would be left who may manage accounts.
    #[error("this is the last admin; make another one first")]
    LastAdmin,
    /// Another account has this name.
    #[error("another account has this name")]
    NameTaken,
    /// Another account has this address.
    #[error("another account has this address")]
    EmailTaken,
    /// A provider vouches for no address of the person, or for one it does not speak for.
    #[error("the sign-in service vouches for no address that counts here")]
    ExternalAddress,
    /// A provider vouches for an address that an account has, and does not speak for its domain.
    #[error("an account here has the address that the sign-in service names, and is not yours by that alone")]
    ExternalTaken,
    /// A provider vouches for somebody who has no account.
    #[error("you have no account on this server; ask an admin of it for one")]
    ExternalUnknown,
    /// The first account exists.
    #[error("this server is set up already; sign in")]
    AlreadySetUp,
    /// A one-time link that was used, replaced, has expired, or was never given out.
    #[error("the link was used, replaced or has expired")]
    DeadLink,
    /// No such OAuth client, or not with this redirect URI.
    #[error("there is no such client, or it has no such redirect URI")]
    NoSuchClient,
    /// An OAuth request is refused in OAuth's own words.
    #[error("{0}")]
    Grant(GrantError),
    /// What the caller wanted to change is no longer what it saw.
    #[error("it was changed meanwhile; read it again")]
    ChangedMeanwhile,
    /// The first request with this key is not answered yet.
    #[error("a request with this Idempotency-Key is not answered yet; send it again in a moment")]
    KeyInUse,
    /// Another request had this key.
    #[error("another request had this Idempotency-Key; take a new one for each request")]
    KeyReused,
    /// No such API key of this person.
    #[error("there is no such API key")]
    NoSuchKey,
    /// No such session of this person.
    #[error("there is no such session")]
    NoSuchSession,
    /// This person never joined the meeting.
    #[error("there is no such participant in this meeting")]
    NoSuchParticipant,
    /// The key that signs could not be changed; only the operator asks for that.
    #[error("{0}")]
    NoNewKey(String),
    /// The server goes away and takes nothing new.
    #[error("the server is draining")]
    Draining,
    /// Too much contention or too many writes; trying again helps.
    #[error("the server is busy")]
    Busy,
    /// A record in the store is not what was written there.
    #[error("a stored record cannot be read")]
    BadRecord,
    /// The store failed.
    #[error("{0}")]
    Store(StoreError),
}

/// Why an OAuth client gets no token or code; the names are those of RFC 6749 sections 4.1.2.1 and 5.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GrantError {
    /// Something is missing or wrong about the request itself.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The client does not prove who it is.
    #[error("the client is unknown or its secret is wrong")]
    InvalidClient,
    /// The code or refresh token is unknown, used, expired, or another client's.
    #[error("the code or token was used, has expired, or was given to somebody else")]
    InvalidGrant,
    /// The client may not use this grant.
    #[error("this client may not use this grant")]
    UnauthorizedClient,
    /// There is no such grant.
    #[error("grants are authorization_code, refresh_token and client_credentials")]
    UnsupportedGrantType,
    /// There is no such response type.
    #[error("the response type is code")]
    UnsupportedResponseType,
    /// There is no such scope.
    #[error("the scope is meetings")]
    InvalidScope,
    /// The person said no.
    #[error("the person did not allow it")]
    AccessDenied,
}

impl GrantError {
    /// The value of `error`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::AccessDenied => "access_denied",
        }
    }
}

impl From<GrantError> for ServiceError {
    fn from(error: GrantError) -> Self {
        Self::Grant(error)
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy | StoreError::Conflict => Self::Busy,
            other => Self::Store(other),
        }
    }
}

impl From<TokenError> for ServiceError {
    fn from(error: TokenError) -> Self {
        Self::BadToken(error)
    }
}
