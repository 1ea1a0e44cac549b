//! Numbers that a person hands in: `.json`, `.csv`, `.npy`, or `-` for standard input.

use std::fmt;
use std::io::Read;
use std::path::Path;

/// Numbers read from a file, and where in it they stood.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// The numbers in order.
    pub values: Vec<f32>,
    /// For messages: `in.csv, line 1`.
    pub origin: String,
}

/// Why a file is not numbers: one line that names file, reason and way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError(String);

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InputError {}

/// Reads every question in `path`: one a line of a `.csv`, one a row of a `.npy`, one a `.json`
/// array. `-` is standard input, in JSON or CSV.
///
/// # Errors
/// [`InputError`] if the file cannot be read or is not numbers.
pub fn read(path: &Path) -> Result<Vec<Numbers>, InputError> {
    let name = path.display().to_string();
    let bytes = if name == "-" {
        read_all(std::io::stdin(), "standard input")?
    } else {
        open(path)?
    };
    let name = if name == "-" {
        "standard input".to_owned()
    } else {
        short(path)
    };
    match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => npy(&bytes, &name),
        Some("json") => json(&bytes, &name),
        Some("csv") => csv(&bytes, &name),
        _ if path.as_os_str() == "-" => guess(&bytes, &name),
        _ => Err(InputError(format!(
            "{name}: unknown kind of file; use .json, .csv, .npy or -"
        ))),
    }
}

fn short(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |n| n.to_string_lossy().into_owned(),
    )
}

fn open(path: &Path) -> Result<Vec<u8>, InputError> {
    let file =
        std::fs::File::open(path).map_err(|e| InputError(format!("{}: {e}", path.display())))?;
    read_all(file, &path.display().to_string())
}

fn read_all(source: impl Read, name: &str) -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    source
        .take(MAX_FILE_LEN + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| InputError(format!("{name}: {e}")))?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        return Err(InputError(format!("{name}: larger than 16 MiB; split it")));
    }
    Ok(bytes)
}

fn guess(bytes: &[u8], name: &str) -> Result<Vec<Numbers>, InputError> {
    match bytes.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'[' | b'{') => json(bytes, name),
        _ => csv(bytes, name),
    }
}

fn json(bytes: &[u8], name: &str) -> Result<Vec<Numbers>, InputError> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Shape {
        One(Vec<f32>),
        Many(Vec<Vec<f32>>),
    }
    let shape = serde_json::from_slice(bytes)
        .map_err(|e| InputError(format!("{name}: not an array of numbers ({e})")))?;
    Ok(match shape {
        Shape::One(values) => vec![Numbers {
            values,
            origin: name.to_owned(),
        }],
        Shape::Many(rows) => rows
            .into_iter()
            .enumerate()
            .map(|(row, values)| Numbers {
                values,
                origin: format!("{name}, row {}", row + 1),
            })
            .collect(),
    })
}

fn csv(bytes: &[u8], name: &str) -> Result<Vec<Numbers>, InputError> {
    let text = std::str::from_utf8(bytes).map_err(|_| InputError(format!("{name}: not text")))?;
    let mut questions = Vec::new();
    for (at, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let origin = format!("{name}, line {}", at + 1);
        let values: Result<Vec<f32>, _> = line
            .split([',', ';', '\t'])
            .map(|field| field.trim().parse::<f32>())
            .collect();
        match values {
            Ok(values) => questions.push(Numbers { values, origin }),
            // A first line of names is a header.
            Err(_) if questions.is_empty() && at == 0 => {}
            Err(_) => return Err(InputError(format!("{origin}: not numbers between commas"))),
        }
    }
    if questions.is_empty() {
        return Err(InputError(format!("{name}: holds no numbers")));
    }
    Ok(questions)
}

/// NumPy's format, version 1 to 3: little-endian floats, integers or truth values, C order. A
/// vector is one row; of anything else each entry of the first dimension is one.
fn npy(bytes: &[u8], name: &str) -> Result<Vec<Numbers>, InputError> {
    let array = Array::read(bytes, name)?;
    #[allow(clippy::cast_possible_truncation, reason = "models take 32-bit floats")]
    let values: Vec<f32> = array.numbers()?.into_iter().map(|v| v as f32).collect();
    let product = |sizes: &[usize]| sizes.iter().try_fold(1_usize, |all, n| all.checked_mul(*n));
    let columns = match array.shape.as_slice() {
        [] | [_] => Some(values.len()),
        [_, each @ ..] => product(each),
    };
    let columns = columns.filter(|&columns| columns > 0);
    let (Some(columns), true) = (columns, product(&array.shape) == Some(values.len())) else {
        return Err(array.wrong("shape and data disagree"));
    };
    Ok(values
        .chunks(columns)
        .enumerate()
        .map(|(row, values)| Numbers {
            values: values.to_vec(),
            origin: format!("{name}, row {}", row + 1),
        })
        .collect())
}

/// Reads one text a line of a `.csv`, or one an element of a `.npy` of numbers or texts.
///
/// # Errors
/// [`InputError`] if the file cannot be read or is neither.
pub fn texts(path: &Path) -> Result<Vec<String>, InputError> {
    let bytes = open(path)?;
    let name = short(path);
    match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => {
            let array = Array::read(&bytes, &name)?;
            match array.texts() {
                Some(texts) => Ok(texts),
                None => Ok(array.numbers()?.iter().map(f64::to_string).collect()),
            }
        }
        Some("csv") => {
            let text =
                std::str::from_utf8(&bytes).map_err(|_| InputError(format!("{name}: not text")))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            Ok(lines.map(str::to_owned).collect())
        }
        _ => Err(InputError(format!(
            "{name}: unknown kind of file; use .csv or .npy"
        ))),
    }
}

/// A `.npy` file, its header read.
struct Array<'a> {
    kind: &'a str,
    shape: Vec<usize>,
    data: &'a [u8],
    name: &'a str,
}

impl<'a> Array<'a> {
    fn read(bytes: &'a [u8], name: &'a str) -> Result<Self, InputError> {
        let (header, data) =
            npy_parts(bytes).ok_or_else(|| InputError(format!("{name}: not a .npy file")))?;
        let field = |key: &str| {
            header
                .split(key)
                .nth(1)
                .map(|rest| rest.trim_start_matches([':', ' ', '\'']))
        };
        let kind = field("descr'").and_then(|rest| rest.split('\'').next());
        let shape = field("shape'")
            .and_then(|rest| rest.trim_start_matches('(').split(')').next())
            .unwrap_or_default()
            .split(',')
            .filter_map(|n| n.trim().parse().ok())
            .collect();
        let array = Self {
            kind: kind.unwrap_or_default(),
            shape,
            data,
            name,
        };
        // The order of a vector is one.
        let ordered = field("fortran_order'").is_some_and(|rest| rest.starts_with("False"));
        if ordered || array.shape.len() == 1 {
            Ok(array)
        } else {
            Err(array.wrong("stored in Fortran order; save it with np.ascontiguousarray"))
        }
    }

    fn wrong(&self, why: &str) -> InputError {
        InputError(format!("{}: {why}", self.name))
    }

    #[allow(clippy::cast_precision_loss, reason = "measurements, not counters")]
    fn numbers(&self) -> Result<Vec<f64>, InputError> {
        let data = self.data;
        Ok(match self.kind {
            "<f4" => chunks(data, f32::from_le_bytes).map(f64::from).collect(),
            "<f8" => chunks(data, f64::from_le_bytes).collect(),
            "|u1" | "|b1" => data.iter().map(|v| f64::from(*v)).collect(),
            "|i1" => chunks(data, i8::from_le_bytes).map(f64::from).collect(),
            "<i2" => chunks(data, i16::from_le_bytes).map(f64::from).collect(),
            "<i4" => chunks(data, i32::from_le_bytes).map(f64::from).collect(),
            "<i8" => chunks(data, i64::from_le_bytes).map(|v| v as f64).collect(),
            kind => return Err(self.wrong(&format!("holds {kind:?}; save it as float32"))),
        })
    }

    /// The elements of an array of texts of one width, `<U9`.
    fn texts(&self) -> Option<Vec<String>> {
        let width: usize = self.kind.strip_prefix("<U")?.parse().ok()?;
        let length = width.checked_mul(4).filter(|&length| length > 0)?;
        let text = |bytes: &[u8]| {
            let codes = chunks(bytes, u32::from_le_bytes).map_while(char::from_u32);
            codes.take_while(|&c| c != '\0').collect()
        };
        Some(self.data.chunks_exact(length).map(text).collect())
    }
}

fn npy_parts(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = if version[0] == 1 {
        let (length, rest) = rest.split_first_chunk::<2>()?;
        (usize::from(u16::from_le_bytes(*length)), rest)
    } else {
        let (length, rest) = rest.split_first_chunk::<4>()?;
        (usize::try_from(u32::from_le_bytes(*length)).ok()?, rest)
    };
    let (header, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

fn chunks<const N: usize, T>(data: &[u8], read: fn([u8; N]) -> T) -> impl Iterator<Item = T> {
    data.as_chunks::<N>()
        .0
        .iter()
        .map(move |chunk| read(*chunk))
}

/// Largest file of questions.
const MAX_FILE_LEN: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn values(questions: &[Numbers]) -> Vec<&[f32]> {
        questions.iter().map(|q| q.values.as_slice()).collect()
    }

    #[test]
    fn reads_json_of_one_question_or_several() {
        assert_eq!(values(&json(b"[1, 2.5]", "x").unwrap()), [&[1.0, 2.5]]);
        assert_eq!(values(&json(b"[[1], [2]]", "x").unwrap()), [&[1.0], &[2.0]]);
        assert!(json(b"{\"a\": 1}", "x").is_err());
    }

    #[test]
    fn a_csv_may_have_a_header_and_names_its_lines() {
        let questions = csv(b"a,b\n1,2\n\n3,4\n", "in.csv").unwrap();
        assert_eq!(values(&questions), [&[1.0, 2.0], &[3.0, 4.0]]);
        assert_eq!(questions[1].origin, "in.csv, line 4");
        assert_eq!(
            csv(b"1,2\n3,x\n", "in.csv"),
            Err(InputError(
                "in.csv, line 2: not numbers between commas".to_owned()
            ))
        );
    }

    #[test]
    fn reads_numpy_rows() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n";
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&1.5f32.to_le_bytes());
        bytes.extend_from_slice(&(-2.0f32).to_le_bytes());
        assert_eq!(values(&npy(&bytes, "x").unwrap()), [&[1.5], &[-2.0]]);
        bytes.pop();
        assert!(npy(&bytes, "x").is_err());
    }

    fn npy_file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn images_are_a_row_each_and_integers_are_numbers() {
        let header = "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 1, 2), }\n";
        let data: Vec<u8> = [1_i64, -2, 3, 4]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let file = npy_file(header, &data);
        assert_eq!(
            values(&npy(&file, "x").unwrap()),
            [&[1.0, -2.0], &[3.0, 4.0]]
        );
        let huge = "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 0), }\n";
        assert!(npy(&npy_file(huge, &[]), "x").is_err());
    }

    #[test]
    fn labels_are_texts_or_numbers() {
        let home = tempfile::tempdir().unwrap();
        let read = |name: &str, bytes: &[u8]| {
            let path = home.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            texts(&path).unwrap()
        };
        let header = "{'descr': '<U2', 'fortran_order': False, 'shape': (2,), }\n";
        let data: Vec<u8> = ['a', 'b', 'c', '\0']
            .iter()
            .flat_map(|&c| u32::from(c).to_le_bytes())
            .collect();
        assert_eq!(read("y.npy", &npy_file(header, &data)), ["ab", "c"]);
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }\n";
        assert_eq!(read("y.npy", &npy_file(header, &[0, 7])), ["0", "7"]);
        assert_eq!(
            read("y.csv", b"benign\n\n malignant\n"),
            ["benign", "malignant"]
        );
    }

    #[test]
    fn hostile_files_are_refused_without_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = npy(bytes, "x");
            let _ = json(bytes, "x");
            let _ = csv(bytes, "x");
            let mut file = b"\x93NUMPY".to_vec();
            file.extend_from_slice(bytes);
            let _ = npy(&file, "x");
            let _ = Array::read(&file, "x").map(|array| array.texts());
        });
    }
}
