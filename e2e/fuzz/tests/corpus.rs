//! The committed corpus, without a fuzzer: faults that it has found stay fixed.

use std::{fs, path::Path};

use vrfgate_fuzz::TARGETS;

#[test]
fn every_reader_takes_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, read) in TARGETS {
        let directory = corpus.join(name);
        let mut files = 0;
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            read(&fs::read(&path).unwrap());
            files += 1;
        }
        assert!(files > 1, "{}", directory.display());
    }
    let known = fs::read_dir(&corpus).unwrap().count();
    assert_eq!(known, TARGETS.len(), "a directory for each, and no other");
}
