//! Telling what looks like a secret. Rather too much than too little: a value that is withheld in vain can be given
//! anew, one that was kept cannot be taken back.

/// Parts of names that secrets go by, in capitals.
const NAMES: [&str; 15] = [
    "SECRET",
    "TOKEN",
    "PASSW",
    "PASSPHRASE",
    "PWD",
    "KEY",
    "CREDENTIAL",
    "AUTH",
    "PRIVATE",
    "COOKIE",
    "SESSION",
    "CERT",
    "DSN",
    "SIGNATURE",
    "BEARER",
];
/// How known kinds of secrets begin.
const BEGINNINGS: [&str; 12] =
    ["AKIA", "ASIA", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xox", "sk-", "hf_", "eyJ", "-----BEGIN"];
/// A word of letters and digits of this length that mixes them is taken for a key.
const KEY_LENGTH_MIN: usize = 24;
/// The same for what begins as a known kind of key does.
const KNOWN_KEY_LENGTH_MIN: usize = 16;

/// Whether a variable or option of that name holds a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    NAMES.iter().any(|part| name.contains(part))
}

/// Whether a value looks like a secret.
pub(super) fn is_secret_value(value: &str) -> bool {
    let word = |word: &str| {
        let (mut lower, mut upper, mut digit) = (false, false, false);
        for c in word.chars() {
            lower |= c.is_ascii_lowercase();
            upper |= c.is_ascii_uppercase();
            digit |= c.is_ascii_digit();
        }
        word.len() >= KEY_LENGTH_MIN && digit && (lower || upper)
    };
    let begins = |word: &str| BEGINNINGS.iter().any(|beginning| word.starts_with(beginning));
    let mut words = value.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '_' | '-'));
    without_user(value).is_some() || words.any(|part| word(part) || begins(part))
}

/// Whether a text of many lines holds a key of a known kind. Digests and long names are not taken for keys here, because
/// code is full of them.
pub(super) fn holds_secret(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').any(|line| {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-'));
        // Differences put a sign before a line.
        let begins = |word: &str| BEGINNINGS.iter().any(|kind| word.trim_start_matches('-').starts_with(kind));
        line.contains("-----BEGIN") && line.contains("PRIVATE KEY")
            || words.any(|word| word.len() >= KNOWN_KEY_LENGTH_MIN && begins(word) && word.contains(char::is_numeric))
    })
}

/// An address less its user and password; none when it has neither.
pub(super) fn without_user(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (_, host) = authority.rsplit_once('@')?;
    Some(format!("{scheme}://{host}{path}"))
}

/// A command line with what looks like a secret replaced.
pub(super) fn withhold(command: &[String], instead: &str) -> Vec<String> {
    let mut follows = false;
    let mut clean = |word: &String| {
        let is_option = word.starts_with('-');
        let value_of_secret = std::mem::take(&mut follows) && !is_option;
        match word.split_once('=') {
            _ if value_of_secret => instead.to_owned(),
            Some((name, value)) if is_secret_name(name) || is_secret_value(value) => format!("{name}={instead}"),
            None if is_option && is_secret_name(word) => {
                follows = true;
                word.clone()
            }
            None if is_secret_value(word) => instead.to_owned(),
            _ => word.clone(),
        }
    };
    command.iter().map(&mut clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_or_looks() {
        for name in ["AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_TOKEN", "db_password", "--api-key", "PGPASSWORD"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "LANG", "--rounds"] {
            assert!(!is_secret_name(name), "{name}");
        }
        for value in ["postgres://me:pw@db/x", "ghp_16C7e42F", "AKIAIOSFODNN7EXAMPLE", "a1B2c3D4e5F6a1B2c3D4e5F6x"] {
            assert!(is_secret_value(value), "{value}");
        }
        for value in
            ["4", "/data/train.parquet", "https://example.org/a", "en_US.UTF-8", "a long sentence of plain words"]
        {
            assert!(!is_secret_value(value), "{value}");
        }
    }

    #[test]
    fn keys_are_found_in_code_and_code_is_not_taken_for_keys() {
        for text in
            ["+key = \"AKIAIOSFODNN7EXAMPLE\"\n", "a\n+-----BEGIN RSA PRIVATE KEY-----\n", "-ghp_16C7e42F292c69\n"]
        {
            assert!(holds_secret(text.as_bytes()), "{text}");
        }
        let lock = "+checksum = \"1f7e2a0c8b5d4f6a9c3e1b2d7f8a6c5e4d3b2a1908f7e6d5c4b3a29181706f5e\"\n";
        for text in
            ["", lock, "+use sk-learn-1-7\n", "-----BEGIN CERTIFICATE-----\n", "+fn hf_model_with_a_long_name()\n"]
        {
            assert!(!holds_secret(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_command_line_keeps_all_but_its_secrets() {
        let command = "train --rounds 5 --token abc --api-key=x1 --url http://u:p@h/ ghp_1234 --password --dry";
        let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let expected = "train --rounds 5 --token ? --api-key=? --url ? ? --password --dry";
        assert_eq!(withhold(&command, "?").join(" "), expected);
        assert_eq!(without_user("https://me:pw@example.org/a@b").unwrap(), "https://example.org/a@b");
        assert_eq!(without_user("https://example.org/a@b"), None);
    }
}
