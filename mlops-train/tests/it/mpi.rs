//! Processes that `mpirun` starts keep the promises of a group, and go on after they were killed.

use std::{
    io,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use mlops_core::{ErrorKind, Result};
use mlops_train::{Collective, FitContext, MpiGroup};

use crate::collective;

/// What a process is told to do.
const TOLD: &str = "MLOPS_TRAIN_MPI";

/// Seconds after which `mpirun` ends processes that wait for each other for ever.
const SECONDS_MAX: &str = "300";

/// What `mpirun` then ends with.
const TIMED_OUT: i32 = 110;

/// Starts so many processes that do what they are told; whether all ended well, and what they said. Says that the test
/// is skipped where there is no `mpirun`.
///
/// # Panics
/// With what they said, when they took too long.
fn launch(size: usize, told: &str) -> Option<(bool, String)> {
    let output = Command::new("mpirun")
        .args(["--allow-run-as-root", "--oversubscribe", "--timeout", SECONDS_MAX, "-n", &size.to_string()])
        .arg(std::env::current_exe().unwrap())
        .args(["mpi::member", "--exact", "--nocapture", "--test-threads=1"])
        .env(TOLD, told)
        // Containers forbid one process to read the memory of another.
        .env("OMPI_MCA_btl_vader_single_copy_mechanism", "none")
        .stdin(Stdio::null())
        .output();
    match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("skipped: there is no mpirun here");
            None
        }
        output => {
            let output = output.unwrap();
            let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let said = said.concat();
            assert!(output.status.code() != Some(TIMED_OUT), "{size} processes told {told:?} took too long: {said}");
            Some((output.status.success(), said))
        }
    }
}

/// Processes that must end well.
fn check(size: usize, told: &str) -> bool {
    let Some((well, said)) = launch(size, told) else { return false };
    assert!(well, "{size} processes told {told:?}: {said}");
    true
}

/// Not a test of its own: what each process runs.
#[test]
#[allow(clippy::disallowed_methods, reason = "the environment is how a test binary tells its processes what to do")]
fn member() {
    let Some(told) = std::env::var_os(TOLD) else { return };
    let told = told.into_string().unwrap();
    let words: Vec<&str> = told.split(' ').collect();
    let group = MpiGroup::join().unwrap();
    match words[..] {
        ["promises"] => {
            assert_eq!(MpiGroup::join().unwrap_err().kind(), ErrorKind::FailedPrecondition);
            collective::check(Arc::new(group));
        }
        ["long"] => more_than_one_piece(&group),
        ["scarce"] => one_has_no_memory(&group),
        ["thread"] => another_thread(&group),
        ["ends"] => ends(&group),
        ["fits", home] => fits(&(Arc::new(group) as Arc<dyn Collective>), Path::new(home)),
        ["dies", rank, rounds, home] => {
            let (rank, rounds) = (rank.parse().unwrap(), AtomicUsize::new(rounds.parse().unwrap()));
            let member: Arc<dyn Collective> = Arc::new(Mortal { group, rank, rounds });
            fits(&member, Path::new(home));
        }
        _ => panic!("told {told:?}"),
    }
}

fn more_than_one_piece(group: &MpiGroup) {
    // The last byte tells whether pieces were put together in order.
    let bring = |rank: usize| -> Vec<u8> { (0..80_000_000 * (1 - rank) + 5).map(|at| (at % 241) as u8).collect() };
    let gathered = group.all_gather(bring(group.rank())).unwrap();
    assert!(gathered == [bring(0), bring(1)]);
    group.end().unwrap();
}

/// The process of number one may take no more memory than it has for a round.
fn one_has_no_memory(group: &MpiGroup) {
    let bytes = vec![0_u8; 400_000_000 * (1 - group.rank())];
    if group.rank() == 1 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.strip_suffix("kB")).unwrap();
        memory_at_most(&(1024 * size.trim().parse::<u64>().unwrap() + 200_000_000).to_string());
    }
    let error = group.all_gather(bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert_eq!(error.message().contains("process 1"), group.rank() == 0, "{error}");
    if group.rank() == 1 {
        memory_at_most("unlimited");
    }
    assert_eq!(group.all_gather(vec![group.rank() as u8]).unwrap(), [[0], [1]], "they are of one mind");
    group.end().unwrap();
}

fn memory_at_most(bytes: &str) {
    let limit = format!("--as={bytes}:");
    let status = Command::new("prlimit").args(["--pid", &std::process::id().to_string(), &limit]).status();
    assert!(status.unwrap().success());
}

/// MPI is taken leave of by the thread that joined, also where another one works and tries.
fn another_thread(group: &MpiGroup) {
    let elsewhere = |work: &(dyn Fn() + Sync)| std::thread::scope(|scope| scope.spawn(work).join().unwrap());
    elsewhere(&|| {
        assert_eq!(group.all_gather(vec![group.rank() as u8]).unwrap(), [[0], [1]]);
        // That of number one learns in its work that the other one ends.
        let over = if group.rank() == 0 { group.end() } else { group.all_gather(Vec::new()).map(drop) };
        let expected = [ErrorKind::FailedPrecondition, ErrorKind::Unavailable][group.rank()];
        assert_eq!(over.unwrap_err().kind(), expected);
        assert_eq!(group.end().unwrap_err().kind(), expected, "MPI still stands");
    });
    assert_eq!(group.end().is_ok(), group.rank() == 0);
    elsewhere(&|| assert_eq!(group.end().is_ok(), group.rank() == 0, "nothing is left to do"));
}

fn ends(group: &MpiGroup) {
    if group.rank() == 0 {
        let error = group.end().unwrap_err();
        assert!(error.kind() == ErrorKind::FailedPrecondition && error.message().contains("process 1"), "{error}");
        assert!(group.end().is_ok(), "it has ended");
        assert_eq!(group.all_gather(Vec::new()).unwrap_err().kind(), ErrorKind::Unavailable);
    } else {
        assert_eq!(group.all_gather(Vec::new()).unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(group.end().unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

/// Fits with checkpoints below `home` and writes the digest there, one for each process.
fn fits(member: &Arc<dyn Collective>, home: &Path) {
    let checkpoints = collective::checkpoints(&home.join("checkpoints"));
    let context = FitContext::new(3).with_collective(Arc::clone(member)).with_checkpoints(checkpoints);
    let (_, digest) = collective::fit(&context).unwrap();
    std::fs::write(home.join(format!("digest-{}-of-{}", member.rank(), member.size())), digest).unwrap();
}

/// A group one of whose processes is killed when it is to speak for the so manieth time.
#[derive(Debug)]
struct Mortal {
    group: MpiGroup,
    rank: usize,
    rounds: AtomicUsize,
}

impl Collective for Mortal {
    fn rank(&self) -> usize {
        self.group.rank()
    }

    fn size(&self) -> usize {
        self.group.size()
    }

    fn all_gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        if self.rank == self.rank() && self.rounds.fetch_sub(1, Ordering::Relaxed) == 1 {
            Command::new("sh").args(["-c", "kill -9 $PPID"]).status().unwrap();
        }
        self.group.all_gather(bytes)
    }
}

#[test]
fn processes_keep_the_promises() {
    (1..=3).all(|size| check(size, "promises"));
}

#[test]
fn what_mpi_cannot_send_at_once_goes_in_pieces() {
    check(2, "long");
}

#[test]
#[cfg(target_os = "linux")]
fn what_one_has_no_memory_for_all_refuse() {
    check(2, "scarce");
}

#[test]
fn the_thread_that_joined_takes_leave() {
    check(2, "thread");
}

#[test]
fn who_ends_while_others_work_is_told_so() {
    check(2, "ends");
}

#[test]
fn processes_that_are_killed_go_on_in_another_number() {
    let (_, whole) = collective::fit(&FitContext::new(3)).unwrap();
    let home = tempfile::tempdir().unwrap();
    let killed = |size: usize, rank: usize, rounds: usize, name: &str| {
        let told = format!("dies {rank} {rounds} {}", home.path().join(name).display());
        let Some((well, said)) = launch(size, &told) else { return false };
        assert!(!well && latest(&home.path().join(name)) > 0, "{said}");
        true
    };
    let ends = |size: usize, name: &str| {
        let home = home.path().join(name);
        assert!(check(size, &format!("fits {}", home.display())));
        for rank in 0..size {
            let digest = std::fs::read_to_string(home.join(format!("digest-{rank}-of-{size}"))).unwrap();
            assert_eq!(digest, whole, "process {rank} of {size}");
        }
    };
    for name in ["one", "three"] {
        std::fs::create_dir(home.path().join(name)).unwrap();
    }
    // All meet twice before the first step.
    if !killed(2, 1, 9, "one") {
        return;
    }
    let begun = latest(&home.path().join("one"));
    copy(&home.path().join("one"), &home.path().join("three"));
    ends(1, "one");
    // Of three, the one that writes is killed.
    assert!(killed(3, 0, 7, "three"));
    assert!(latest(&home.path().join("three")) > begun, "three went on from step {begun}");
    ends(3, "three");
}

/// The step of the latest checkpoint.
fn latest(home: &Path) -> u64 {
    collective::checkpoints(&home.join("checkpoints")).list().unwrap().last().map_or(0, |info| info.step)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            std::fs::copy(&path, &copied).unwrap();
        }
    }
}
