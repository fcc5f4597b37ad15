//! The last words of a process that ends with an error.

use std::io::Write;

use super::output::{self, LogStyle};
use super::record::{Level, Record};

/// Says why the process is about to end with an error.
///
/// The platform looks for two records, by what stands before the first colon of their message, and shows what stands
/// behind the last one as the task's error. So the texts hold no colon of their own there; `exc_str` holds what they were.
pub fn report_fatal(title: &str, message: &str) {
    if output::style() != Some(LogStyle::Records) {
        let line = output::redacted(format!("error: {}\n", message.lines().next().unwrap_or_default()));
        // Nobody left to tell is no reason to fail differently.
        let _ = std::io::stderr().write_all(line.as_bytes());
        return;
    }
    let [title, short] = records(title, message);
    output::write(title);
    output::write(short);
}

fn records(title: &str, message: &str) -> [Record; 2] {
    let first = Record::new(Level::Fatal, format!("Error title: {}", without_colons(title)));
    let mut second = Record::new(Level::Fatal, format!("Error message: {}", without_colons(message)));
    second.add("exc_str", message);
    [first, second]
}

/// The same to the eye.
fn without_colons(text: &str) -> String {
    text.replace(": ", " \u{2013} ").replace(':', "\u{2236}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_hold_no_colon() {
        let [title, message] = records("Device: lost", "cannot listen on 127.0.0.1:80: in use");
        assert_eq!(title.message, "Error title: Device \u{2013} lost");
        assert_eq!(message.message, "Error message: cannot listen on 127.0.0.1\u{2236}80 \u{2013} in use");
        assert_eq!(message.top["exc_str"], "cannot listen on 127.0.0.1:80: in use");
    }
}
