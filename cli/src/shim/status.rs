//! `xeno shim status`: which shims are installed, which images there are, and what is wrong with any of them.

use super::show::ImageRow;
use super::words::StatusArgs;
use super::{NOT_WELL, print_json, say};
use crate::failure::Failure;
use launch::shim::base::Base;
use launch::shim::image::Image;
use launch::shim::install::{self, There};
use resolver::needs::Libc;
use serde::Serialize;
use std::path::Path;

/// Everything for machines.
#[derive(Serialize)]
struct Status {
    base: String,
    /// What is wrong with the base directory.
    problem: Option<String>,
    shims: Vec<ShimRow>,
    images: Vec<StatusRow>,
    users: bool,
}

#[derive(Serialize)]
struct ShimRow {
    path: String,
    arch: String,
    /// What is wrong; none if it works.
    problem: Option<String>,
}

#[derive(Serialize)]
struct StatusRow {
    path: String,
    /// What is wrong; none if it is as it would be made today.
    problem: Option<String>,
    #[serde(skip)]
    title: String,
}

/// Prints what is installed.
pub(crate) fn status(args: &StatusArgs) -> Result<u8, Failure> {
    let base = Base::at(&args.into)?;
    let shims = shims(&base);
    let gone = || (!shims.is_empty()).then(|| "does not exist, and a shim looks into it; `xeno shim install` makes it again".to_owned());
    let status = Status {
        base: base.text().to_owned(),
        problem: if base.directory().exists() { install::distrust(base.directory()) } else { gone() },
        shims,
        images: install::images(&base).iter().map(|path| image(path, &base)).collect(),
        users: base.users().is_dir(),
    };
    let well =
        status.problem.is_none() && status.shims.iter().all(|s| s.problem.is_none()) && status.images.iter().all(|i| i.problem.is_none());
    if args.json {
        print_json(&status)?;
    } else {
        print(&status);
    }
    Ok(if well { 0 } else { NOT_WELL })
}

fn shims(base: &Base) -> Vec<ShimRow> {
    let row = |site: &install::Site| {
        let problem = match install::look(&site.at, site.arch) {
            There::Shim(other) if other == *base => {
                install::distrust(&site.at).map(|why| format!("it {why}")).or_else(|| stranded(site, base))
            }
            There::Shim(other) => Some(format!("it is the shim of {}", other.text())),
            There::Nothing => Some("it is gone; `xeno shim install` puts it back".to_owned()),
            There::Loader => Some("there is a real loader now; `xeno shim uninstall` forgets the shim".to_owned()),
            There::Other(what) => Some(format!("there is {what} now; `xeno shim uninstall` forgets the shim")),
        };
        ShimRow { path: site.at.to_string_lossy().into_owned(), arch: site.arch.to_string(), problem }
    };
    install::sites(base).iter().map(row).collect()
}

/// Where the shim replaced a loader, this machine's own programs need an image.
fn stranded(site: &install::Site, base: &Base) -> Option<String> {
    let served = [Libc::Glibc, Libc::Musl].iter().any(|libc| Path::new(&base.everybody(site.arch, *libc)).exists());
    let text = "this machine's own programs have no image; `xeno shim install` makes it again";
    (!served && site.replaces_a_loader()).then(|| text.to_owned())
}

fn image(path: &Path, base: &Base) -> StatusRow {
    let text = path.to_string_lossy().into_owned();
    match Image::load(path) {
        Err(e) => StatusRow { title: format!("{text}: no image"), path: text, problem: Some(e.to_string()) },
        Ok(image) => {
            let row = ImageRow::new(&image, path, base);
            let stale = || {
                let again = if image.is_for_everybody() { "xeno shim install" } else { "xeno shim add" };
                row.out_of_date.as_ref().map(|why| format!("out of date: {why}; `{again}` makes it again"))
            };
            // An ordinary user's own is followed for him alone.
            let own = path.parent() != Some(base.directory());
            let problem = install::distrust(path).filter(|_| !own).map(|why| format!("not followed, as it {why}")).or_else(stale);
            StatusRow { title: row.title(), path: text, problem }
        }
    }
}

fn print(status: &Status) {
    let problem = |problem: &Option<String>| problem.as_ref().map(|p| format!(" – {p}")).unwrap_or_default();
    say(format_args!("{}{}", status.base, problem(&status.problem)));
    if status.shims.is_empty() {
        say("  no shim is installed");
    }
    for shim in &status.shims {
        say(format_args!("  shim  {} ({}){}", shim.path, shim.arch, problem(&shim.problem)));
    }
    for image in &status.images {
        say(format_args!("  image {}{}", image.title, problem(&image.problem)));
    }
    say(format_args!("  ordinary users {} add programs of their own", if status.users { "may" } else { "cannot" }));
}
