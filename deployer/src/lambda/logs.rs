//! What functions wrote: CloudWatch Logs.

use super::{AwsError, AwsSession};

/// Streams that are looked into: those that were written to last. Each execution environment
/// has one of its own.
const STREAMS: i32 = 10;
/// Lines that are read at most.
const MOST: usize = 10_000;

/// Where a function writes (docs: "Lambda log groups").
fn group(function: &str) -> String {
    format!("/aws/lambda/{function}")
}

/// The last lines of a function, oldest first.
pub(super) async fn lines(
    session: &AwsSession,
    function: &str,
    tail: Option<usize>,
) -> Result<Vec<String>, AwsError> {
    let action = format!("read the log of {function}");
    let group = group(function);
    let most = tail.unwrap_or(MOST).min(MOST);
    let streams = session
        .logs
        .describe_log_streams()
        .log_group_name(&group)
        .order_by(aws_sdk_cloudwatchlogs::types::OrderBy::LastEventTime)
        .descending(true)
        .limit(STREAMS);
    let streams = match streams.send().await.map_err(AwsError::of(&action)) {
        // It never ran.
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        streams => streams?,
    };
    let mut events: Vec<(i64, String)> = Vec::new();
    for stream in streams.log_streams().iter().filter_map(|stream| stream.log_stream_name()) {
        let read = session
            .logs
            .get_log_events()
            .log_group_name(&group)
            .log_stream_name(stream)
            .start_from_head(false)
            .limit(i32::try_from(most.max(1)).unwrap_or(i32::MAX));
        let found = read.send().await.map_err(AwsError::of(&action))?;
        events.extend(found.events().iter().map(|event| {
            let text = event.message().unwrap_or_default().trim_end().to_owned();
            (event.timestamp().unwrap_or_default(), text)
        }));
    }
    // Stable: lines of one moment stay in their order.
    events.sort_by_key(|(time, _)| *time);
    let skipped = events.len().saturating_sub(most);
    Ok(events.into_iter().skip(skipped).map(|(_, text)| text).collect())
}

/// Removes a function's log.
pub(super) async fn remove_group(session: &AwsSession, function: &str) -> Result<(), AwsError> {
    let call = session.logs.delete_log_group().log_group_name(group(function));
    match call.send().await.map_err(AwsError::of(format!("remove the log of {function}"))) {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}
