//! The changes that transformers 4 makes to decoded text unless told otherwise.

/// What is replaced, in this order.
const REPLACEMENTS: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// Removes the blanks that a word tokenizer would have put before punctuation. The published answers were read after it.
pub fn clean_up(text: &str) -> String {
    REPLACEMENTS.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Removes the tokens that begin, end and fill an answer.
pub(super) fn without_marks(text: &str) -> String {
    text.replace("<s>", "").replace("</s>", "").replace("<pad>", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_before_punctuation_go() {
        assert_eq!(clean_up("a dog . it 's here , is n't it ?"), "a dog. it's here, isn't it?");
        assert_eq!(clean_up("rock ' n ' roll"), "rock'n'roll");
        assert_eq!(clean_up("  . . "), " .. ");
    }

    #[test]
    fn marks_are_removed_one_kind_after_the_other() {
        assert_eq!(without_marks("</s><s>car<loc_1></s><pad><pad>"), "car<loc_1>");
        assert_eq!(without_marks("<</s>s>"), "<s>");
    }
}
