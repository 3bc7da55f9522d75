//! The mock upstream as a process of its own, for benchmarks and for tests in other languages.

use std::net::SocketAddr;

use privet_upstream::MockUpstream;

const USAGE: &str = "usage: privet-mock [--listen 127.0.0.1:0] [--threads 1]";

struct Arguments {
    listen: SocketAddr,
    threads: usize,
}

#[expect(clippy::print_stdout, reason = "the address on stdout is the interface to the caller")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = arguments(std::env::args().skip(1))?;
    let runtime = match arguments.threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
    };
    runtime.block_on(async {
        let mock = MockUpstream::listen(arguments.listen).await?;
        println!("listening on {}", mock.base_url());
        mock.serve_forever().await;
        Ok(())
    })
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { listen: SocketAddr::from(([127, 0, 0, 1], 0)), threads: 1 };
    while let Some(flag) = given.next() {
        let value = given.next().ok_or(USAGE)?;
        match flag.as_str() {
            "--listen" => arguments.listen = value.parse().map_err(|error| format!("{value}: {error}; {USAGE}"))?,
            "--threads" => {
                arguments.threads = value.parse().ok().filter(|threads| *threads > 0).ok_or(USAGE)?;
            }
            _ => return Err(format!("unknown argument {flag}; {USAGE}")),
        }
    }
    Ok(arguments)
}
