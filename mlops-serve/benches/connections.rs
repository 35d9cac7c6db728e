//! Ten thousand open connections: what each takes in memory, and how those fare that ask.
//!
//! ```text
//! cargo bench -p mlops-serve --bench connections -- [--connections N] [--active N] [--seconds N]
//! ```
//!
//! The server runs in a process of its own, whose resident memory is read before and after. Connections are HTTP/1.1, kept
//! alive; each is used once when it is opened. Then `--active` of them ask again and again while the others lie idle. The limit of
//! open files is raised as far as it may be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use mlops_core::{DataType, Signature, TensorSpec, Version, arrow_array::RecordBatch};
use mlops_serve::{ClosureModel, ConnectionSettings, ModelRepository, Server, ServerSettings};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const SERVE: &str = "--serve-connections";

fn argument(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// How many files this process may open, and how many it may let itself open.
fn files_max() -> (u64, u64) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap_or(u64::MAX));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// The same program with as many files as it may open; a shell raises the limit, which children inherit.
fn again_with_more_files() -> ExitCode {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n \"$(ulimit -Hn)\" && exec \"$0\" \"$@\""]).args(std::env::args_os());
    let ended = shell.status().unwrap();
    if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn serve() {
    let spec = TensorSpec::column("x", DataType::Float64);
    let signature = Signature::new([spec.clone()], [spec]).unwrap();
    let model = ClosureModel::new(signature, |batch: &RecordBatch| Ok(batch.clone()));
    let repository = Arc::new(ModelRepository::new());
    repository.register(&"echo".parse().unwrap(), Version(1), Arc::new(model)).unwrap();
    let connections =
        ConnectionSettings { connections_max: 20_000, header_timeout_ms: 600_000, ..ConnectionSettings::default() };
    let settings = ServerSettings { connections, ..ServerSettings::default() };
    let server = Server::builder(repository).with_settings(settings).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    server.serve(listener, std::future::pending()).await.unwrap();
}

/// Resident memory of a process, KiB.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn ask(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    const BODY: &str = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}]}"#;
    let request =
        format!("POST /v2/models/echo/infer HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    buffer.clear();
    loop {
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "the server closed a connection");
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length: usize =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        if buffer.len() >= end + 4 + length {
            return;
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == SERVE) {
        serve().await;
        return ExitCode::SUCCESS;
    }
    let (count, active) = (argument("--connections", 10_000), argument("--active", 100));
    let seconds = argument("--seconds", 10);
    let (may, could) = files_max();
    if may < count + 100 && may < could {
        return again_with_more_files();
    }
    if may < count + 100 {
        eprintln!("{count} connections need more open files than the {may} that are allowed; raise `ulimit -Hn`");
        return ExitCode::FAILURE;
    }
    let mut server = Command::new(std::env::current_exe().unwrap()).arg(SERVE).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let address = address.trim().to_owned();
    let mut buffer = Vec::new();
    // What the first requests set up belongs to the server, not to its connections.
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        ask(&mut stream, &mut buffer).await;
    }
    let before = resident(server.id());
    let begun = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        ask(&mut stream, &mut buffer).await;
        idle.push(stream);
    }
    let opened = begun.elapsed();
    let after = resident(server.id());
    println!(
        "{count} connections opened and used once in {:.1} s; resident {before} KiB -> {after} KiB, {:.1} KiB a connection",
        opened.as_secs_f64(),
        after.saturating_sub(before) as f64 / count as f64
    );
    let mut asking = JoinSet::new();
    let until = Instant::now() + Duration::from_secs(seconds);
    let busy = idle.split_off(idle.len() - usize::try_from(active).unwrap().min(idle.len()));
    for mut stream in busy {
        asking.spawn(async move {
            let (mut times, mut buffer) = (Vec::new(), Vec::new());
            while Instant::now() < until {
                let begun = Instant::now();
                ask(&mut stream, &mut buffer).await;
                times.push(begun.elapsed());
            }
            (stream, times)
        });
    }
    let (mut times, mut streams) = (Vec::new(), Vec::new());
    while let Some(done) = asking.join_next().await {
        let (stream, took) = done.unwrap();
        streams.push(stream);
        times.extend(took);
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{active} of them active: {:.0} answers/s, p50 {:.2} ms, p99 {:.2} ms; resident {} KiB",
        times.len() as f64 / seconds as f64,
        at(0.5),
        at(0.99),
        resident(server.id())
    );
    // The idle ones still answer.
    for stream in idle.iter_mut().step_by(97) {
        ask(stream, &mut buffer).await;
    }
    drop((idle, streams));
    server.kill().unwrap();
    server.wait().unwrap();
    ExitCode::SUCCESS
}
