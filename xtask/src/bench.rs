//! placeholder
pub(crate) fn spine(_: &crate::workspace::Workspace) -> anyhow::Result<()> {
    Ok(())
}
