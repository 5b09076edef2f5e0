//! The home screen's composition as a page, and the server that hands it out and hears how long its frames took.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const PAGE: &str = include_str!("page.html");
/// A longer request is none of the page's.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Serves the page.
#[derive(Debug)]
pub(super) struct Page {
    listener: TcpListener,
    addr: SocketAddr,
    counted: Duration,
}

impl Page {
    /// Binds a free port.
    pub(super) async fn serve(counted: Duration) -> Result<Self> {
        let listener =
            TcpListener::bind("127.0.0.1:0").await.context("failed to bind a port for the page")?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr, counted })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    /// Hands out the page until it says how long its frames took.
    pub(super) async fn frames(&self) -> Result<Value> {
        loop {
            let (mut stream, _) = self.listener.accept().await?;
            // A browser opens connections that it may never use: one that breaks is the next one's affair.
            if let Ok(Some(said)) = self.answer(&mut stream).await {
                return serde_json::from_str(&said).with_context(|| format!("the page said `{said}`"));
            }
        }
    }

    async fn answer(&self, stream: &mut TcpStream) -> Result<Option<String>> {
        let mut request = Vec::new();
        let body_at = loop {
            if let Some(at) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            anyhow::ensure!(request.len() < REQUEST_BYTES_MAX, "the request is too long");
            anyhow::ensure!(0 < stream.read_buf(&mut request).await?, "the connection was closed");
        };
        let head = String::from_utf8_lossy(&request[..body_at]).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())
            .unwrap_or(0);
        anyhow::ensure!(length <= REQUEST_BYTES_MAX, "the request is too long");
        while request.len() < body_at + length {
            anyhow::ensure!(0 < stream.read_buf(&mut request).await?, "the connection was closed");
        }
        let is_result = head.starts_with("post /frames ");
        let body = if head.starts_with("get / ") {
            PAGE.replace("COUNTED_MS", &self.counted.as_millis().to_string())
        } else {
            String::new()
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        Ok(is_result.then(|| String::from_utf8_lossy(&request[body_at..]).into_owned()))
    }
}
