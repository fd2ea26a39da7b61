//! The least function on Lambda: a custom runtime that loads nothing. The file `toy.txt`
//! beside it says what it does: a line with `broken` ends it at its start, `refusing` answers
//! every event with a failure, `slow` sleeps a second before each answer; whatever it is, the
//! file's first line is answered as `says`.

use std::io::{Read, Result, Write};
use std::net::TcpStream;

fn main() -> Result<()> {
    let root = std::env::var("LAMBDA_TASK_ROOT").unwrap_or_else(|_| ".".to_owned());
    let beside = std::env::current_exe()?.with_file_name("toy.txt");
    let text = std::fs::read_to_string(beside)
        .or_else(|_| std::fs::read_to_string(format!("{root}/toy.txt")))
        .unwrap_or_default();
    let does = |word: &str| text.split_whitespace().any(|found| found == word);
    eprintln!("the toy starts: {}", text.trim());
    if does("broken") {
        eprintln!("the toy is broken");
        std::process::exit(1);
    }
    let address = std::env::var("AWS_LAMBDA_RUNTIME_API").map_err(std::io::Error::other)?;
    loop {
        let (head, event) = ask(&address, "GET", "next", b"")?;
        let id = header(&head, "lambda-runtime-aws-request-id").unwrap_or_default();
        if does("slow") {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        println!("the toy answers {id}");
        let (path, answer) = if does("refusing") {
            let failure = r#"{"errorType":"tranche.load-failed","errorMessage":"the toy refuses (mend it)","stackTrace":[]}"#;
            (format!("{id}/error"), failure.to_owned())
        } else {
            let variable = |name: &str| quoted(&std::env::var(name).unwrap_or_default());
            let answer = format!(
                r#"{{"tranche":1,"says":{},"event":{},"version":{},"slice":{},"process":{}}}"#,
                quoted(text.lines().next().unwrap_or_default()),
                String::from_utf8_lossy(&event),
                variable("AWS_LAMBDA_FUNCTION_VERSION"),
                variable("TRANCHE_SLICE"),
                std::process::id()
            );
            (format!("{id}/response"), answer)
        };
        ask(&address, "POST", &path, answer.as_bytes())?;
    }
}

/// One request to the Runtime API; HTTP/1.0, so that the answer ends with the connection.
fn ask(address: &str, method: &str, path: &str, body: &[u8]) -> Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    write!(
        stream,
        "{method} /2018-06-01/runtime/invocation/{path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
    let body = answer.split_off(end);
    Ok((String::from_utf8_lossy(&answer).into_owned(), body))
}

fn header(head: &str, name: &str) -> Option<String> {
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}
