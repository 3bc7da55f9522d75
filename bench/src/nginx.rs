//! nginx as a plain proxy, for comparison: two workers, kept connections to the upstream, no buffering of answers, no log.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The command that runs nginx in the foreground, and where it will listen.
pub(crate) fn command(folder: &Path, upstream: SocketAddr) -> Result<(Command, SocketAddr)> {
    let Some(program) = find() else {
        bail!("nginx is missing; install it with: sudo apt-get install nginx-light");
    };
    // nginx cannot say which port it got, so one that was free a moment ago is given to it.
    let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration(folder, listen, upstream))
        .with_context(|| format!("{} cannot be written", file.display()))?;
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).arg("-c").arg(&file).args(["-e", "stderr"]);
    Ok((command, listen))
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps it where only root's PATH leads.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join("nginx"))
        .find(|file| file.is_file())
}

fn configuration(folder: &Path, listen: SocketAddr, upstream: SocketAddr) -> String {
    let folder = folder.display();
    // As root, the workers would be given an account that cannot enter the folder.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "{user}
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    upstream provider {{
        server {upstream};
        keepalive 128;
        keepalive_requests 100000000;
    }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
        }}
    }}
}}
"
    )
}
