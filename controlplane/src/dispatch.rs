//! From decisions to lanes: turns what signalling wants into `Command`s for the right core and routes `Report`s back.
