//! Servers that a test has for itself, so that it can kill them. A test whose server is not installed is skipped, and
//! says so.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    #[cfg(feature = "postgres")]
    Postgres,
    #[cfg(feature = "redis")]
    Redis,
}

/// A server on a port of its own, with data that outlives its process.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    port: u16,
    home: tempfile::TempDir,
    /// PostgreSQL runs by itself.
    child: Option<Child>,
}

impl Server {
    /// None when it is not installed.
    pub(crate) fn start(kind: Kind) -> Option<Self> {
        if program(kind).is_none() {
            println!("skipped: no server for {kind:?} here");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { kind, port, home: tempfile::tempdir().unwrap(), child: None };
        #[cfg(feature = "postgres")]
        if kind == Kind::Postgres {
            if is_root() {
                run(Command::new("chown").arg("postgres").arg(server.home.path()));
            }
            run(server.postgres("initdb").args(["-A", "trust", "-U", "postgres", "-N"]));
        }
        server.restart();
        Some(server)
    }

    pub(crate) fn url(&self) -> String {
        let port = self.port;
        match self.kind {
            #[cfg(feature = "postgres")]
            Kind::Postgres => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            #[cfg(feature = "redis")]
            Kind::Redis => format!("redis://127.0.0.1:{port}"),
        }
    }

    /// Ends it without a chance to say good-bye.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        #[cfg(feature = "postgres")]
        if self.kind == Kind::Postgres {
            run(self.postgres("pg_ctl").args(["-m", "immediate", "-w", "stop"]));
        }
    }

    /// Starts it, on the data that are there.
    pub(crate) fn restart(&mut self) {
        let (port, home) = (self.port.to_string(), self.home.path().to_str().unwrap().to_owned());
        let program = program(self.kind).unwrap();
        match self.kind {
            #[cfg(feature = "postgres")]
            Kind::Postgres => {
                let options = format!("-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off");
                let log = format!("{home}/log");
                run(self.postgres("pg_ctl").args(["-w", "-l", &log, "-o", &options, "start"]));
            }
            #[cfg(feature = "redis")]
            Kind::Redis => {
                let options = ["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", ""];
                self.spawn(Command::new(program).args(["--port", &port, "--dir", &home]).args(options));
            }
        }
    }

    /// Starts `command` and waits until it answers a greeting.
    fn spawn(&mut self, command: &mut Command) {
        self.child = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        loop {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                let mut line = String::new();
                if stream.write_all(b"PING\r\n").is_ok()
                    && BufReader::new(stream).read_line(&mut line).is_ok()
                    && (line.contains("PONG") || line.starts_with("INFO"))
                {
                    return;
                }
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "the server ended: {ended:?}");
            std::thread::yield_now();
        }
    }

    /// A program of PostgreSQL on the server's data, as a user that it accepts.
    #[cfg(feature = "postgres")]
    fn postgres(&self, name: &str) -> Command {
        let program = program(Kind::Postgres).unwrap().with_file_name(name);
        let mut command = if is_root() { Command::new("runuser") } else { Command::new(&program) };
        if is_root() {
            command.args(["-u", "postgres", "--"]).arg(&program);
        }
        command.arg("-D").arg(self.home.path().join("data")).current_dir("/").stdout(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(feature = "postgres")]
fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}

#[cfg(feature = "postgres")]
fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// Where the server's program is.
fn program(kind: Kind) -> Option<PathBuf> {
    let on_path = |name: &str| {
        let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
        places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists())
    };
    match kind {
        #[cfg(feature = "postgres")]
        Kind::Postgres => {
            let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
            versions.flatten().map(|version| version.path().join("bin/postgres")).find(|path| path.exists())
        }
        #[cfg(feature = "redis")]
        Kind::Redis => on_path("redis-server"),
    }
}
