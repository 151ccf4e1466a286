//! Why a receiver gets less of a stream than there could be. Shown by the API, the metrics and the client's tile.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// Why a stream is sent with less than its publisher could give. Each variant is a value of `kaigi_streams_reduced{reason}`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])* $variant,)+ }

        impl Reason {
            /// All reasons, in the order of their discriminants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
            /// The name in the API and in metric labels.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

reasons! {
    /// The receiver's link cannot carry more.
    LinkEstimate => "link_estimate",
    /// The publisher does not send what is wanted: its own link, its machine, or a layer it has switched off.
    PublisherSendsLess => "publisher_sends_less",
    /// The receiver asked for less: a small tile, a low frame rate, or nothing.
    ClientAskedLess => "client_asked_less",
    /// The link could carry more of this stream if another, more important one did not need it.
    Priority => "priority",
    /// The meeting forwards its loudest speakers only, and this track is not among them.
    Admission => "admission",
    /// The receiver decodes none of the codecs the publisher sends.
    CodecMissing => "codec_missing",
}
