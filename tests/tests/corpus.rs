//! The fuzz targets without a fuzzer: every committed corpus file, and seeded mutations of each, in every plain test run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dataplane::base::rng::Rng;
use tests::fuzzing::TARGETS;

/// Mutations of each corpus file.
const MUTATIONS: u32 = 300;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable directory entry").path())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect()
}

#[test]
fn every_target_has_a_fuzzer_and_a_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("fuzz_targets")), targets);
    assert_eq!(names(&fuzz().join("corpus")), targets);
}

#[test]
fn every_corpus_file_and_its_mutations_run_through_its_target() {
    let mut rng = Rng::new(0x6b61_6967);
    for (name, target) in TARGETS {
        let folder = fuzz().join("corpus").join(name);
        let files: BTreeSet<PathBuf> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("a readable directory entry").path())
            .collect();
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let original = fs::read(&file).expect("a readable corpus file");
            // Said before each run, so that a failure's output names the file.
            println!("{}", file.display());
            target(&original);
            for _ in 0..MUTATIONS {
                target(&mutated(&original, &mut rng));
            }
        }
    }
}

/// A few changed bytes, cut or doubled.
fn mutated(original: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..rng.below(5) {
        let at = rng.below(bytes.len().max(1) as u64) as usize;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = if rng.chance_ppm(500_000) { *byte ^ (1 << rng.below(8)) } else { rng.next_u64() as u8 };
        }
    }
    match rng.below(4) {
        0 => bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize),
        1 => bytes.extend_from_within(rng.below(bytes.len() as u64 + 1) as usize..),
        _ => {}
    }
    bytes
}
