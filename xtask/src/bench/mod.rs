//! placeholder while fixtures build
pub(crate) fn run(_: &[String]) -> anyhow::Result<()> {
    anyhow::bail!("later")
}
