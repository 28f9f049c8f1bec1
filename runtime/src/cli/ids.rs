//! Commands for several containers, by id or by regular expression.

use super::context::Context;
use crate::bail;
use crate::error::Result;
use crate::lifecycle::state;
use crate::sys::regex::Regex;

/// Calls `act` for every id. Errors are logged, and the others follow; the exit status is then
/// not 0.
pub fn for_each(ids: &[String], context: &Context, act: impl Fn(&str) -> Result<()>) -> Result<u8> {
    if let [id] = ids {
        return act(id).map(|()| 0);
    }
    let mut status = 0;
    for id in ids {
        if let Err(error) = act(id) {
            context.log.error(&error.chain());
            status = 1;
        }
    }
    Ok(status)
}

/// The ids of all containers that match one of the regular expressions (POSIX extended).
pub fn matching(expressions: &[String], context: &Context) -> Result<Vec<String>> {
    let compile = |text: &String| match Regex::new(text) {
        Some(regex) => Ok(regex),
        None => bail!("--regex: {text:?} is not a regular expression"),
    };
    let expressions = expressions.iter().map(compile).collect::<Result<Vec<_>>>()?;
    let ids = state::ids(&context.root)?;
    Ok(ids.into_iter().filter(|id| expressions.iter().any(|regex| regex.matches(id))).collect())
}
