//! One connection: knows whether its request's head is complete, and fails when it takes too long.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{
    Limits, SILENT, SLOW_HEAD, Tell,
    door::{Book, lock},
};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The rest of a head, or on a new connection all of it.
    Head(Scan),
    /// The first bytes of the answer.
    Answer,
    /// More of the answer; the connection ends with it.
    Answered,
}

/// How much of the empty line that ends a head has been seen. Empty lines before a head are no end of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Scan {
    has_begun: bool,
    line_ends: u8,
}

impl Scan {
    /// Whether the head ends within these bytes.
    fn sees_end(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match byte {
                b'\r' => {}
                b'\n' => self.line_ends += u8::from(self.has_begun),
                _ => *self = Self { has_begun: true, line_ends: 0 },
            }
            if self.line_ends == 2 {
                return true;
            }
        }
        false
    }
}

/// One connection, which fails when it has to go.
pub(crate) struct Guest {
    stream: TcpStream,
    number: u64,
    book: Arc<Mutex<Book>>,
    phase: Phase,
    deadline: Pin<Box<Sleep>>,
    silence_max: Duration,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    tell: Tell,
}

impl Guest {
    pub(crate) fn new(
        stream: TcpStream,
        number: u64,
        book: Arc<Mutex<Book>>,
        limits: &Limits,
        tell: Tell,
        end: CancellationToken,
    ) -> Self {
        Self {
            stream,
            number,
            book,
            phase: Phase::Head(Scan::default()),
            deadline: Box::pin(sleep(limits.head_max)),
            silence_max: limits.silence_max,
            end: Box::pin(end.cancelled_owned()),
            tell,
        }
    }

    /// Registers the waker with what ends the connection, and fails when that has come.
    fn may_stay(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.end.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.deadline.as_mut().poll(context).is_ready() {
            (self.tell)(if matches!(self.phase, Phase::Head(_)) { SLOW_HEAD } else { SILENT });
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    fn read(&mut self, bytes: &[u8]) {
        let mut scan = match self.phase {
            Phase::Head(scan) => scan,
            // The body, which nobody asked for, or a next request, which gets no answer.
            Phase::Answer | Phase::Answered => return,
        };
        if scan.sees_end(bytes) {
            self.phase = Phase::Answer;
            self.leave_half_open();
        } else {
            self.phase = Phase::Head(scan);
        }
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = written {
            if matches!(self.phase, Phase::Head(_)) {
                // An answer to a head that is not complete, such as one that is too long, ends the connection.
                self.leave_half_open();
            }
            self.phase = Phase::Answered;
            self.put_off();
        }
        written
    }

    fn leave_half_open(&mut self) {
        lock(&self.book).asked(self.number);
        self.put_off();
    }

    fn put_off(&mut self) {
        let next = Instant::now() + self.silence_max;
        self.deadline.as_mut().reset(next);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.book).leave(self.number);
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.may_stay(context)?;
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        let bytes = &into.filled()[before..];
        if !bytes.is_empty() {
            self.read(bytes);
        }
        read
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.may_stay(context)?;
        let written = Pin::new(&mut self.stream).poll_write(context, from);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.may_stay(context)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, from);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_its_first_empty_line_however_it_is_cut() {
        for (head, ends) in [
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\nhost: a\n\n", true),
            ("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
            ("\r\n\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nhost: a\r\nx", false),
            ("", false),
        ] {
            assert_eq!(Scan::default().sees_end(head.as_bytes()), ends, "{head:?}");
            let mut scan = Scan::default();
            let seen = head.as_bytes().iter().filter(|byte| scan.sees_end(&[**byte])).count();
            assert_eq!(0 < seen, ends, "{head:?} byte by byte");
        }
    }
}
