//! `linux.intelRdt`: resctrl groups.

use crate::bail;
use crate::error::Result;
use crate::spec::linux::IntelRdt;

/// The resctrl groups of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResctrlPlan {
    /// `closID`: the control group, which other containers may use; None: named by the container's
    /// id.
    pub clos: Option<String>,
    /// Lines for the file `schemata`, in order.
    pub schemata: Vec<String>,
    /// Create a monitoring group.
    pub monitoring: bool,
}

/// The default group of resctrl.
pub const DEFAULT: &str = "/";

/// Errors: a closID or a schema that is malformed.
pub fn plan(spec: &IntelRdt) -> Result<ResctrlPlan> {
    let clos = Some(spec.clos_id.clone()).filter(|clos| !clos.is_empty());
    if let Some(clos) = clos.as_deref().filter(|clos| *clos != DEFAULT)
        && (clos == "." || clos == ".." || clos.contains(['/', '\n', '\0']))
    {
        bail!("linux.intelRdt.closID {clos:?} can't be the name of a group");
    }
    if !spec.mem_bw_schema.is_empty() && !spec.mem_bw_schema.starts_with("MB:") {
        bail!("linux.intelRdt.memBwSchema {:?} must begin with \"MB:\"", spec.mem_bw_schema);
    }
    let own = [("l3CacheSchema", &spec.l3_cache_schema), ("memBwSchema", &spec.mem_bw_schema)];
    let schemata = own.into_iter().chain(spec.schemata.iter().map(|line| ("schemata", line)));
    let schemata: Vec<_> = schemata.filter(|(_, line)| !line.is_empty()).collect();
    if let Some((field, line)) = schemata.iter().find(|(_, line)| line.contains('\n')) {
        bail!("linux.intelRdt.{field} {line:?} has more than one line");
    }
    let schemata = schemata.into_iter().map(|(_, line)| line.clone()).collect();
    Ok(ResctrlPlan { clos, schemata, monitoring: spec.enable_monitoring })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemata_are_in_the_order_of_the_specification() {
        let spec = IntelRdt {
            l3_cache_schema: "L3:0=f".into(),
            mem_bw_schema: "MB:0=20".into(),
            schemata: vec!["L2:0=3".into()],
            ..IntelRdt::default()
        };
        assert_eq!(plan(&spec).unwrap().schemata, ["L3:0=f", "MB:0=20", "L2:0=3"]);
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |spec| plan(&spec).unwrap_err().chain();
        let clos = |name: &str| IntelRdt { clos_id: name.into(), ..IntelRdt::default() };
        for name in ["a/b", "..", ".", "../x", "/x", "a\nb"] {
            assert!(refused(clos(name)).contains("can't be the name of a group"), "{name}");
        }
        assert_eq!(plan(&clos("/")).unwrap().clos.as_deref(), Some(DEFAULT));
        let bandwidth = IntelRdt { mem_bw_schema: "L3:0=1".into(), ..IntelRdt::default() };
        assert!(refused(bandwidth).contains("must begin with \"MB:\""));
        let lines = IntelRdt { schemata: vec!["a\nb".into()], ..IntelRdt::default() };
        assert!(refused(lines).contains("more than one line"));
    }
}
