//! As much of XML as a request to Amazon has: elements, without attributes but the namespace.

/// The contents of each element `tag` that stands directly in `text`, as they are written.
pub(super) fn elements<'a>(text: &'a str, tag: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(&open) {
        let Some((content, after)) = after.split_once(&close) else {
            break;
        };
        found.push(content);
        rest = after;
    }
    found
}

/// The text of the only element `tag`; `None` if it is missing or there are several.
pub(super) fn text(within: &str, tag: &str) -> Option<String> {
    match elements(within, tag).as_slice() {
        [content] => Some(unescaped(content)),
        _ => None,
    }
}

fn unescaped(text: &str) -> String {
    let named = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
    ];
    let mut text = text.to_owned();
    for (entity, character) in named {
        text = text.replace(entity, character);
    }
    text.replace("&amp;", "&")
}

pub(super) fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
