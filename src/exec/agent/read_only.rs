//! What a step may ask an agent of the build's own: which keys there are, and to sign. What a step did to the agent would else be
//! there for all others: keys that are gone, or added, or locked, or libraries that the agent loads.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Numbers of the protocol of agents.
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
/// A whole message.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];
/// As OpenSSH has it.
const LONGEST_MESSAGE: u32 = 256 << 10;

/// Passes messages on until one side has no more. Each is answered before the next one is read.
pub(super) async fn pass_on(
    mut step: impl AsyncRead + AsyncWrite + Unpin,
    mut agent: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    loop {
        let request = message(&mut step).await?;
        if matches!(request.get(4), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST))) {
            agent.write_all(&request).await?;
            step.write_all(&message(&mut agent).await?).await?;
        } else {
            step.write_all(&FAILURE).await?;
        }
    }
}

/// A message with its length before it.
async fn message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    if !(1..=LONGEST_MESSAGE).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = length.to_be_bytes().to_vec();
    from.take(u64::from(length)).read_to_end(&mut message).await?;
    if message.len() != length as usize + 4 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// Sends a message to one side; yields what comes out at the other, and what is answered.
    async fn exchange(request: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut step, ours): (DuplexStream, _) = duplex(1 << 20);
        let (theirs, mut agent) = duplex(1 << 20);
        // The agent's answer is there already.
        agent.write_all(&[0, 0, 0, 2, 12, 7]).await.unwrap();
        step.write_all(request).await.unwrap();
        let passing = tokio::spawn(async move { pass_on(ours, theirs).await });
        step.shutdown().await.unwrap();
        let (mut answer, mut heard) = (Vec::new(), Vec::new());
        step.read_to_end(&mut answer).await.unwrap();
        agent.read_to_end(&mut heard).await.unwrap();
        assert!(passing.await.unwrap().is_err());
        (heard, answer)
    }

    #[tokio::test]
    async fn only_questions_reach_the_agent() {
        for question in [&[0, 0, 0, 1, 11][..], &[0, 0, 0, 3, 13, 1, 2]] {
            assert_eq!(exchange(question).await, (question.to_vec(), vec![0, 0, 0, 2, 12, 7]));
        }
        // To add, remove, lock, load a library, extend.
        for kind in [17, 18, 19, 22, 20, 26, 27, 0, 255] {
            assert_eq!(exchange(&[0, 0, 0, 1, kind]).await, (vec![], FAILURE.to_vec()), "{kind}");
        }
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_connection() {
        for bytes in [&[0, 0, 0, 0][..], &[255, 255, 255, 255, 11], &[0, 0, 0, 9, 11], &[0, 0]] {
            assert_eq!(exchange(bytes).await, (vec![], vec![]), "{bytes:?}");
        }
    }
}
