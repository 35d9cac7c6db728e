//! Which type a file is sent as: by its name alone, and never as one that a browser would run.

/// Names and endings of plain text. What holds scripts or markup is text here too.
const TEXT: [&str; 26] = [
    "cf",
    "cfg",
    "cnf",
    "conf",
    "csv",
    "err",
    "hocon",
    "ini",
    "js",
    "json",
    "log",
    "md",
    "mlmodel",
    "mlproject",
    "prop",
    "properties",
    "py",
    "py3",
    "rst",
    "sql",
    "toml",
    "tsv",
    "txt",
    "xml",
    "yaml",
    "yml",
];
/// Endings of what pages embed.
const OTHERS: [(&str, &str); 13] = [
    ("bmp", "image/bmp"),
    ("gif", "image/gif"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("wav", "audio/x-wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("zip", "application/zip"),
];

/// The type of the file at this path; bytes when nothing better is known.
pub(super) fn file_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    if TEXT.contains(&ending.as_str()) {
        return "text/plain";
    }
    OTHERS.iter().find(|(known, _)| *known == ending).map_or("application/octet-stream", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_told_by_the_name_and_runs_nowhere() {
        for (path, kind) in [
            ("a/b.txt", "text/plain"),
            ("model/MLmodel", "text/plain"),
            ("MLproject", "text/plain"),
            ("data.xml", "text/plain"),
            ("plot.PNG", "image/png"),
            ("d.pdf", "application/pdf"),
            ("model.pkl", "application/octet-stream"),
            ("page.html", "application/octet-stream"),
            ("plot.svg", "application/octet-stream"),
            ("none", "application/octet-stream"),
        ] {
            assert_eq!(file_type(path), kind, "{path}");
        }
    }
}
