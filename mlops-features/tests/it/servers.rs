//! Servers that a test has for itself, so that it can kill them. A test whose server is not installed is skipped, and
//! says so.

#[cfg(feature = "redis")]
use std::time::Duration;
#[cfg(any(feature = "nats", feature = "redis"))]
use std::{io::Write as _, net::TcpStream};
#[cfg(any(feature = "kafka", feature = "nats", feature = "redis"))]
use std::{
    io::{BufRead as _, BufReader},
    path::Path,
};
use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its messages do not outlive its process, and it is at another address each time.
    #[cfg(feature = "kafka")]
    Kafka,
    #[cfg(feature = "nats")]
    Nats,
    #[cfg(feature = "postgres")]
    Postgres,
    #[cfg(feature = "redis")]
    Redis,
}

/// A server on a port of its own, with data that outlives its process.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    #[allow(dead_code, reason = "brokers of Kafka choose their own")]
    port: u16,
    #[allow(dead_code, reason = "brokers of Kafka keep nothing")]
    home: tempfile::TempDir,
    /// PostgreSQL runs by itself.
    child: Option<Child>,
    /// What else the server is started with.
    #[cfg(any(feature = "nats", feature = "redis"))]
    options: Vec<String>,
    /// Where the brokers of Kafka are.
    #[cfg(feature = "kafka")]
    address: String,
}

/// Three Redis servers that share the slots of one cluster.
#[cfg(feature = "redis")]
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
}

/// Every 10 ms: far longer than three servers on one machine take to find each other.
#[cfg(feature = "redis")]
const CLUSTER_ASKED_MAX: usize = 6_000;

#[cfg(feature = "redis")]
impl Cluster {
    /// None when Redis is not installed.
    pub(crate) fn start() -> Option<Self> {
        let cli = in_places("redis-cli");
        if program(Kind::Redis).is_none() || cli.is_none() {
            println!("skipped: no redis-server or no redis-cli here");
            return None;
        }
        let servers: Vec<Server> = (0..3).map(|_| Server::start_in_cluster()).collect();
        let addresses =
            servers.iter().map(|server| format!("127.0.0.1:{}@{}", server.port, server.options.last().unwrap()));
        let mut create = Command::new(cli.unwrap());
        create.args(["--cluster", "create"]).args(addresses).args(["--cluster-replicas", "0", "--cluster-yes"]);
        let created = create.output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { servers };
        cluster.wait();
        Some(cluster)
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Server::url).collect()
    }

    /// Returns once every server says that all slots are served.
    pub(crate) fn wait(&self) {
        for server in &self.servers {
            let mut state = server.ask("CLUSTER INFO");
            for _ in 0..CLUSTER_ASKED_MAX {
                if state.contains("cluster_state:ok") {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
                state = server.ask("CLUSTER INFO");
            }
            assert!(state.contains("cluster_state:ok"), "port {} is not in a whole cluster: {state}", server.port);
        }
    }
}

impl Server {
    /// None when it is not installed.
    pub(crate) fn start(kind: Kind) -> Option<Self> {
        let mut server = Self::stopped(kind)?;
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

    /// A NATS server with these options.
    #[cfg(feature = "nats")]
    pub(crate) fn start_nats(options: &[&str]) -> Option<Self> {
        let mut server = Self::stopped(Kind::Nats)?;
        server.options = options.iter().map(|option| (*option).to_owned()).collect();
        server.restart();
        Some(server)
    }

    fn stopped(kind: Kind) -> Option<Self> {
        if program(kind).is_none() {
            println!("skipped: no server for {kind:?} here");
            return None;
        }
        let [port] = free_ports();
        Some(Self {
            kind,
            port,
            home: tempfile::tempdir().unwrap(),
            child: None,
            #[cfg(any(feature = "nats", feature = "redis"))]
            options: Vec::new(),
            #[cfg(feature = "kafka")]
            address: String::new(),
        })
    }

    /// A Redis server that waits to be told which slots of a cluster it has.
    #[cfg(feature = "redis")]
    fn start_in_cluster() -> Self {
        let [port, bus] = free_ports();
        let bus = bus.to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
        let options = options.map(str::to_owned).to_vec();
        let home = tempfile::tempdir().unwrap();
        let mut server = Self::stopped(Kind::Redis).unwrap();
        (server.port, server.home, server.options) = (port, home, options);
        server.restart();
        server
    }

    /// Holds it as a machine that hangs is held, or lets it go on.
    #[cfg(feature = "kafka")]
    pub(crate) fn hold(&self, held: bool) {
        let (signal, child) = (if held { "-STOP" } else { "-CONT" }, self.child.as_ref().unwrap());
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    }

    /// What the server says to `command`.
    #[cfg(feature = "redis")]
    pub(crate) fn ask(&self, command: &str) -> String {
        let mut cli = Command::new(in_places("redis-cli").unwrap());
        let answer = cli.args(["-p", &self.port.to_string()]).args(command.split(' ')).output().unwrap();
        let told = String::from_utf8_lossy(&answer.stderr);
        assert!(answer.status.success(), "{command} on port {}: {told}", self.port);
        String::from_utf8(answer.stdout).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        #[cfg(any(feature = "nats", feature = "postgres", feature = "redis"))]
        let port = self.port;
        match self.kind {
            #[cfg(feature = "kafka")]
            Kind::Kafka => self.address.clone(),
            #[cfg(feature = "nats")]
            Kind::Nats => format!("nats://localhost:{port}"),
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
        #[cfg(any(feature = "nats", feature = "postgres", feature = "redis"))]
        let (port, home) = (self.port.to_string(), self.home.path().to_str().unwrap().to_owned());
        match self.kind {
            #[cfg(feature = "kafka")]
            Kind::Kafka => {
                let mut command = kafka_broker(&program(self.kind).unwrap());
                let mut child =
                    command.args(["serve", "2"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
                let mut line = String::new();
                BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
                (self.address, self.child) = (line.trim().to_owned(), Some(child));
            }
            #[cfg(feature = "nats")]
            Kind::Nats => {
                let mut command = Command::new(program(self.kind).unwrap());
                command.args(["-a", "localhost", "-p", &port, "-js", "-sd", &home]).args(&self.options);
                self.spawn(&mut command);
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres => {
                let options = format!("-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off");
                let log = format!("{home}/log");
                run(self.postgres("pg_ctl").args(["-w", "-l", &log, "-o", &options, "start"]));
            }
            #[cfg(feature = "redis")]
            Kind::Redis => {
                let options = ["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", ""];
                let program = program(self.kind).unwrap();
                let mut command = Command::new(program);
                self.spawn(command.args(["--port", &port, "--dir", &home]).args(options).args(&self.options));
            }
        }
    }

    /// Starts `command` and waits until it answers a greeting.
    #[cfg(any(feature = "nats", feature = "redis"))]
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

/// Ports that are free and distinct: all are held until each is known.
fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.each_ref().map(|listener| listener.local_addr().unwrap().port())
}

/// Where the server's program is.
fn program(kind: Kind) -> Option<PathBuf> {
    match kind {
        #[cfg(feature = "kafka")]
        Kind::Kafka => kafka_python(),
        #[cfg(feature = "nats")]
        Kind::Nats => in_places("nats-server"),
        #[cfg(feature = "postgres")]
        Kind::Postgres => {
            let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
            versions.flatten().map(|version| version.path().join("bin/postgres")).find(|path| path.exists())
        }
        #[cfg(feature = "redis")]
        Kind::Redis => in_places("redis-server"),
    }
}

/// A Python that has `confluent-kafka`, which brings brokers for tests.
#[cfg(feature = "kafka")]
#[allow(clippy::disallowed_methods, reason = "where it is depends on who runs the tests")]
pub(crate) fn kafka_python() -> Option<PathBuf> {
    std::env::var_os("MLOPS_TEST_KAFKA_PYTHON").map(PathBuf::from)
}

/// The program that serves and sends.
#[cfg(feature = "kafka")]
pub(crate) fn kafka_broker(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/kafka_broker.py"));
    command
}

/// Where programs are installed.
#[cfg(any(feature = "nats", feature = "redis"))]
fn in_places(program: &str) -> Option<PathBuf> {
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    places.iter().map(|place| Path::new(place).join(program)).find(|path| path.exists())
}
