//! Lists the targets, or writes the seeds of one into a folder: `seeds`, `seeds TARGET FOLDER`.

use std::path::Path;
use std::process::ExitCode;

use turnpike_fuzz_targets::TARGETS;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        [name, folder] => return write(name, Path::new(folder)),
        _ => return complain("expects nothing, or TARGET FOLDER"),
    }
    ExitCode::SUCCESS
}

fn write(name: &str, folder: &Path) -> ExitCode {
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        return complain("there is no such target");
    };
    let write = || {
        std::fs::create_dir_all(folder)?;
        (target.seeds)().into_iter().try_for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes))
    };
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("cannot write to {}: {error}", folder.display())),
    }
}

fn complain(message: &str) -> ExitCode {
    eprintln!("seeds: {message}");
    ExitCode::from(2)
}
