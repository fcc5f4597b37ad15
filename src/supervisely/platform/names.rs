//! Names for what is made on the platform, where the first choice may be taken.

/// Names that are tried.
pub const MAX_NAMES: usize = 1000;

/// The name, then with a number.
pub fn free_names(name: &str) -> impl Iterator<Item = String> + '_ {
    let numbered = (1..MAX_NAMES).map(move |number| format!("{name}{}", number_suffix(number)));
    std::iter::once(name.to_owned()).chain(numbered)
}

/// As the SDK numbers names that are taken.
pub fn number_suffix(number: usize) -> String {
    format!("_{number:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_as_the_sdk_does() {
        let names: Vec<String> = free_names("v1.0").take(3).collect();
        assert_eq!(names, ["v1.0", "v1.0_001", "v1.0_002"]);
    }
}
