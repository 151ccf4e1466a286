//! What lies on the disk and what comes back from it: sealed at rest, keys, damage and its remedy, going back in time, a full disk.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::daemon::{Daemon, PATIENCE, Scratch, assert_one_line, command, program, run};
use tests::home::{Home, MEETINGS, problem};

/// A topic and names nobody else uses.
const TOPIC: &str = "Zebrafinkenforschung";
const GUEST: &str = "Wilhelmine Quastenflosser";
const ACCOUNT: &str = "bartholomaeus-xylander";

fn text(path: &Path) -> &str {
    path.to_str().expect("a test's path is ASCII")
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

fn create(daemon: &Daemon, topic: &str) -> String {
    let created = daemon.call_json("POST", MEETINGS, None, &json!({ "topic": topic }));
    assert_eq!(created.status, 200, "{created:?}");
    created.field("id")
}

fn topic_of(daemon: &Daemon, id: &str) -> Option<String> {
    let answer = daemon.call("GET", &format!("{MEETINGS}/{id}"), None);
    (answer.status == 200).then(|| answer.field("topic"))
}

#[test]
fn no_name_and_no_topic_can_be_read_from_store_journal_or_backup() {
    let home = Home::demo("sealed");
    let id = create(&home.daemon, TOPIC);
    let _session = home.daemon.session_token(&id, GUEST);
    let _token = home.daemon.token(ACCOUNT);
    let backup = home.daemon.data.join("by-hand.kaigi-backup");
    assert!(run(&["backup", text(&backup), "--data", text(&home.daemon.data)]).status.success());
    let data = home.daemon.data.clone();
    home.daemon.kill();
    let all = files(&data);
    for part in ["store", "journal", "backups", "by-hand"] {
        assert!(all.iter().any(|path| text(path).contains(part)), "{part} is not in {all:?}");
    }
    for path in all {
        let bytes = fs::read(&path).expect("reads");
        for word in [TOPIC, GUEST, ACCOUNT, "meeting_topic"] {
            let is_there = bytes.windows(word.len()).any(|part| part == word.as_bytes());
            assert!(!is_there, "{word} is in {}", path.display());
        }
    }
    let daemon = Daemon::start(&data, &["--demo"]);
    assert_eq!(topic_of(&daemon, &id).as_deref(), Some(TOPIC));
}

#[test]
fn a_wrong_or_missing_master_key_keeps_the_server_from_starting() {
    let home = Home::demo("keys");
    let id = create(&home.daemon, TOPIC);
    let data = home.daemon.data.clone();
    home.daemon.kill();
    let other = home.scratch.join("other.key");
    fs::write(&other, "ab".repeat(32)).expect("writes");
    let place = format!("file:{}", other.display());
    let wrong = run(&["serve", "--data", text(&data), "--store-key", &place]);
    assert_eq!(wrong.status.code(), Some(1));
    assert_one_line(&wrong.stderr, &["is not the one this store is sealed under", "--store-key"]);
    let elsewhere = home.scratch.join("elsewhere.key");
    fs::rename(data.join("master.key"), &elsewhere).expect("renames");
    let missing = run(&["serve", "--data", text(&data)]);
    assert_one_line(&missing.stderr, &["master.key", "--store-key"]);
    assert!(!data.join("master.key").exists(), "no new key takes the place of a lost one");
    let checked = run(&["check", "--data", text(&data)]);
    assert!(String::from_utf8_lossy(&checked.stdout).contains("FAIL store"), "{checked:?}");
    let place = format!("command:cat {}", elsewhere.display());
    let daemon = Daemon::start(&data, &["--demo", "--store-key", &place]);
    assert_eq!(topic_of(&daemon, &id).as_deref(), Some(TOPIC));
}

#[test]
fn the_master_key_is_rotated_under_a_running_server_and_on_the_files() {
    let home = Home::demo("rotate");
    let data = home.daemon.data.clone();
    let before = create(&home.daemon, "before");
    let token = home.daemon.token("ada");
    let old = fs::read(data.join("master.key")).expect("reads");
    let rotated = run(&["rotate-key", "--data-key", "--data", text(&data)]);
    assert!(rotated.status.success(), "{rotated:?}");
    assert_ne!(fs::read(data.join("master.key")).expect("reads"), old);
    let after = create(&home.daemon, "after");
    home.daemon.kill();
    let new = home.scratch.join("new.key");
    fs::write(&new, "0123456789abcdef".repeat(4)).expect("writes");
    let place = format!("file:{}", new.display());
    let rotated = command(&["rotate-key", "--to", "file:new.key", "--data", text(&data)])
        .current_dir(new.parent().expect("it lies in a folder"))
        .output()
        .expect("runs");
    assert!(rotated.status.success(), "{rotated:?}");
    let refused = run(&["serve", "--data", text(&data)]);
    assert_one_line(&refused.stderr, &["is not the one this store is sealed under"]);
    let daemon = Daemon::start(&data, &["--demo", "--store-key", &place]);
    assert_eq!(topic_of(&daemon, &before).as_deref(), Some("before"));
    assert_eq!(topic_of(&daemon, &after).as_deref(), Some("after"));
    // The key that signs is sealed by the store's keys, and they are the same.
    assert_eq!(daemon.call("GET", "/api/v1/users/me", Some(&token)).status, 200);
}

#[test]
fn a_signing_key_opens_with_its_own_stores_keys_alone() {
    let (one, other) = (Home::demo("signing-one"), Home::demo("signing-other"));
    let path = one.daemon.data.join("signing.key");
    let own = fs::read(&path).expect("reads");
    let stranger = fs::read(other.daemon.data.join("signing.key")).expect("reads");
    let data = one.daemon.data.clone();
    one.daemon.kill();
    for wrong in [stranger, own[..own.len() - 1].to_vec(), [&own[..40], &[own[40] ^ 1], &own[41..]].concat()]
    {
        fs::write(&path, wrong).expect("writes");
        let refused = run(&["serve", "--data", text(&data)]);
        assert_one_line(&refused.stderr, &["signing.key", "remove it to make a new one"]);
    }
    fs::write(&path, own).expect("writes");
    drop(Daemon::start(&data, &["--demo"]));
}

/// A way to damage what a stopped server left, by its name.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 6] = [
    ("a hole in the log", |data| overwrite(data, 2)),
    ("the first page gone", |data| {
        let log = fs::File::options().write(true).open(data.join("store/db")).expect("opens");
        log.write_all_at(&[0xff; 65_536], 0).expect("writes");
    }),
    ("the log cut in half", |data| {
        let log = fs::File::options().write(true).open(data.join("store/db")).expect("opens");
        log.set_len(log.metadata().expect("has a length").len() / 2).expect("cuts");
    }),
    ("the log empty", |data| fs::write(data.join("store/db"), b"").expect("writes")),
    ("no store", |data| fs::remove_dir_all(data.join("store")).expect("removes")),
    ("no keys", |data| fs::remove_file(data.join("keys")).expect("removes")),
];

/// Overwrites 64 KiB at one part of what is used of the log.
fn overwrite(data: &Path, part: u64) {
    let path = data.join("store/db");
    let bytes = fs::read(&path).expect("reads");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("something is there") as u64;
    let log = fs::File::options().write(true).open(&path).expect("opens");
    log.write_all_at(&[0xa5; 65_536], used / part - 65_536.min(used / part)).expect("writes");
}

#[test]
fn a_damaged_store_starts_with_everything_or_names_the_command_that_brings_everything_back() {
    let mut refused = 0;
    for (damage, inflict) in DAMAGES {
        let home = Home::demo("damage");
        let data = home.daemon.data.clone();
        let mut kept = Vec::new();
        for n in 0..150 {
            let topic = format!("{damage} {n}");
            kept.push((create(&home.daemon, &topic), topic));
        }
        let _token = home.daemon.token(ACCOUNT);
        home.daemon.kill();
        inflict(&data);
        let checked = run(&["check", "--data", text(&data)]);
        let found = String::from_utf8_lossy(&checked.stdout).into_owned();
        if found.contains("FAIL store") {
            refused += 1;
            let serve = run(&["serve", "--data", text(&data)]);
            assert_eq!(serve.status.code(), Some(1), "{damage}: {serve:?}");
            let said = String::from_utf8_lossy(&serve.stderr).into_owned();
            let remedy = said.rsplit('`').nth(1).unwrap_or_else(|| panic!("{damage}: {said}"));
            assert!(remedy.starts_with("kaigid restore ") && found.contains(remedy), "{damage}: {found}");
            let folder = program().parent().map(Path::to_owned).expect("a program lies in a folder");
            let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
            let restored = Command::new("sh").args(["-c", remedy]).env("PATH", path).output().expect("runs");
            assert!(restored.status.success(), "{damage}: {restored:?}");
        }
        let daemon = Daemon::start(&data, &["--demo"]);
        for (id, topic) in &kept {
            assert_eq!(topic_of(&daemon, id).as_ref(), Some(topic), "{damage}\n{}", daemon.log());
        }
        // The account's name leads to the account still, and new writes are taken.
        assert!(command(&["token", "--user", ACCOUNT, "--data", text(&data)]).output().is_ok());
        let _one_more = create(&daemon, "after");
    }
    assert!(refused >= 3, "only {refused} kinds of damage were noticed");
}

#[test]
fn a_restore_until_a_moment_has_what_came_before_it_and_nothing_after() {
    let home = Home::demo("until");
    let data = home.daemon.data.clone();
    let before = create(&home.daemon, "before");
    std::thread::sleep(Duration::from_millis(1_100));
    let moment = home.daemon.call("GET", &format!("{MEETINGS}/{before}"), None);
    assert_eq!(moment.status, 200);
    let moment = rfc3339_now();
    std::thread::sleep(Duration::from_millis(1_100));
    let after = create(&home.daemon, "after");
    let running = run(&["restore", "--data", text(&data)]);
    assert_one_line(&running.stderr, &["another kaigid uses the data directory"]);
    home.daemon.kill();
    let restored = run(&["restore", "--data", text(&data), "--until", &moment]);
    assert!(restored.status.success(), "{restored:?}");
    let daemon = Daemon::start(&data, &["--demo"]);
    assert_eq!(topic_of(&daemon, &before).as_deref(), Some("before"));
    assert_eq!(topic_of(&daemon, &after), None);
    daemon.kill();
    let aside = files(&data).iter().any(|path| text(path).contains("store.damaged-"));
    assert!(aside, "the store that was there is set aside, not deleted");
    let too_early = run(&["restore", "--data", text(&data), "--until", "2001-01-01T00:00:00Z"]);
    assert_one_line(&too_early.stderr, &["no backup of before that moment"]);
}

#[test]
fn a_server_backs_up_when_the_newest_backup_is_a_day_old_and_removes_what_is_too_old() {
    let scratch = Scratch::new("daily");
    let (data, backups) = (scratch.join("data"), scratch.join("elsewhere"));
    let flags = ["--demo", "--backup-days", "1", "--backups", text(&backups)];
    let daemon = Daemon::start(&data, &flags);
    let id = create(&daemon, TOPIC);
    daemon.kill();
    let [base] = files(&backups).try_into().expect("the base of a new store");
    // Two days go by: as far as anybody can tell from the backup's head.
    let told = fs::read_to_string(&base).expect("reads");
    let (before, rest) = told.split_once("\"at\":").expect("its moment");
    let (at, after) = rest.split_once(',').expect("more follows");
    let at = at.parse::<i64>().expect("a number") - 2 * 24 * 60 * 60 * 1_000;
    fs::write(&base, format!("{before}\"at\":{at},{after}")).expect("writes");
    let daemon = Daemon::start(&data, &flags);
    let begun = Instant::now();
    while base.exists() || files(&backups).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{:?}\n{}", files(&backups), daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon.kill();
    fs::remove_dir_all(data.join("store")).expect("removes");
    let restored = run(&["restore", "--data", text(&data), "--backups", text(&backups)]);
    assert!(restored.status.success(), "{restored:?}");
    let daemon = Daemon::start(&data, &flags);
    assert_eq!(topic_of(&daemon, &id).as_deref(), Some(TOPIC));
}

#[test]
fn a_damaged_store_without_backups_says_what_is_left_to_do() {
    let scratch = Scratch::new("no-backups");
    let data = scratch.join("data");
    let flags = ["--demo", "--backup-days", "0"];
    let daemon = Daemon::start(&data, &flags);
    let _id = create(&daemon, TOPIC);
    daemon.kill();
    assert!(!data.join("backups").exists());
    fs::remove_dir_all(data.join("store")).expect("removes");
    let refused = run(&["serve", "--data", text(&data), "--backup-days", "0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_one_line(&refused.stderr, &["--backup-days 0", "kaigid restore FILE"]);
}

/// The moment as `date` says it.
fn rfc3339_now() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().expect("date runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A small file system of its own; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf, size: &str) -> Result<Self, String> {
        fs::create_dir_all(&path).expect("makes");
        let options = format!("size={size},mode=700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self(path)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Fills it until nothing more fits, less `left` bytes.
    fn fill(&self, left: u64) {
        let path = self.0.join("filler");
        let file = fs::File::create(&path).expect("makes");
        let block = vec![1; 1 << 20];
        let mut bytes = 0;
        while file.write_all_at(&block, bytes).is_ok() {
            bytes += block.len() as u64;
        }
        file.set_len(bytes.saturating_sub(left)).expect("cuts");
    }

    fn free_up(&self) {
        fs::remove_file(self.0.join("filler")).expect("removes");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_writes_goes_on_reading_and_recovers_by_itself() {
    let scratch = Scratch::new("full");
    let disk = match Disk::mount(scratch.join("data"), "192m") {
        Ok(disk) => disk,
        Err(reason) => return eprintln!("SKIPPED: no file system can be mounted here ({reason})"),
    };
    let daemon = Daemon::start(&disk.0, &["--demo"]);
    let id = create(&daemon, "before");
    // A little is left: nothing is tried.
    disk.fill(8 << 20);
    let refused = daemon.call_json("POST", MEETINGS, None, &json!({"topic": "too much"}));
    problem(&refused, 507, "insufficient-storage");
    assert_eq!(topic_of(&daemon, &id).as_deref(), Some("before"), "reading goes on");
    problem(&daemon.call("GET", "/readyz", None), 503, "storage-failed");
    disk.free_up();
    let again = create(&daemon, "again");
    assert_eq!(daemon.call("GET", "/readyz", None).status, 200);
    // Nothing at all is left: it opens all the same.
    disk.fill(0);
    problem(&daemon.call_json("POST", MEETINGS, None, &json!({"topic": "x"})), 507, "insufficient-storage");
    daemon.kill();
    let daemon = Daemon::start(&disk.0, &["--demo"]);
    assert_eq!(topic_of(&daemon, &again).as_deref(), Some("again"));
    problem(&daemon.call_json("POST", MEETINGS, None, &json!({"topic": "x"})), 507, "insufficient-storage");
    disk.free_up();
    let begun = Instant::now();
    while daemon.call("GET", "/readyz", None).status != 200 {
        assert!(begun.elapsed() < PATIENCE, "{}", daemon.log());
    }
    let last = create(&daemon, "last");
    daemon.kill();
    let daemon = Daemon::start(&disk.0, &["--demo"]);
    for (id, topic) in [(&id, "before"), (&again, "again"), (&last, "last")] {
        assert_eq!(topic_of(&daemon, id).as_deref(), Some(topic));
    }
    daemon.kill();
}
