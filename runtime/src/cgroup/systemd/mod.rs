//! The container's cgroup by systemd, which owns the tree on most hosts: a transient scope
//! around init. Limits that have a property are set as such; the files are then written as
//! without systemd. Source: org.freedesktop.systemd1(5).

mod bus;
pub mod properties;
mod wire;

use crate::bail;
use crate::error::{Context, Error, Result};
use crate::plan::cgroup::property::{Property, Value};
use crate::plan::cgroup::unit::Unit;
use bus::Bus;
use std::path::Path;
use wire::{Method, Reader, Writer};

const MANAGER: Method = Method {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "",
};

const JOB_SIGNALS: &str =
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// Whether systemd is pid 1, sd_booted(3).
pub fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Starts the unit with `pid` in it, and waits for the job. Errors: systemd's error message.
pub fn start(unit: &Unit, pid: i32, settings: &[Property], description: &str) -> Result<()> {
    let mut properties = base(unit, pid, description);
    properties.extend_from_slice(settings);
    let mut bus = Bus::connect(unit.of_user)?;
    // A failed scope keeps its name until it is reset.
    reset_failed(&mut bus, unit);
    let result = run_job(&mut bus, "StartTransientUnit", "ssa(sv)a(sa(sv))", &unit.name, |body| {
        body.text(&unit.name);
        body.text("replace");
        body.properties(&properties);
        body.array::<()>(8, &[], |_, ()| {});
    });
    match result.doing(|| format!("start unit {}", unit.name))? {
        Ok(result) if result == "done" => Ok(()),
        Ok(result) => bail!("start unit {}: systemd's job ended as {result:?}", unit.name),
        Err(error) => Err(Error::from(error)).doing(|| format!("start unit {}", unit.name)),
    }
}

/// Stops the unit; one that does not exist is no error.
pub fn stop(unit: &Unit) -> Result<()> {
    let mut bus = Bus::connect(unit.of_user)?;
    let result = run_job(&mut bus, "StopUnit", "ss", &unit.name, |body| {
        body.text(&unit.name);
        body.text("replace");
    });
    match result.doing(|| format!("stop unit {}", unit.name))? {
        Err(error) if !error.is("NoSuchUnit") => {
            return Err(Error::from(error)).doing(|| format!("stop unit {}", unit.name));
        }
        _ => {}
    }
    let serial = reset_failed(&mut bus, unit);
    bus.answer(serial).map(drop)
}

/// Sets properties of a running unit, not persistently.
pub fn set_properties(unit: &Unit, properties: &[Property]) -> Result<()> {
    let mut bus = Bus::connect(unit.of_user)?;
    let mut body = Writer::default();
    body.text(&unit.name);
    body.bool(true);
    body.properties(properties);
    let serial = bus.call(&Method { member: "SetUnitProperties", ..MANAGER }, "sba(sv)", body);
    let what = || format!("set properties of unit {}", unit.name);
    bus.answer(serial).doing(what)?.map_err(Error::from).doing(what).map(drop)
}

/// Moves a process into the unit's cgroup, or into `below` in it, for callers without write
/// access.
pub fn attach(unit: &Unit, below: &str, pid: i32) -> Result<()> {
    let mut bus = Bus::connect(unit.of_user)?;
    let mut body = Writer::default();
    body.text(&unit.name);
    body.text(below);
    body.array(4, &[pid as u32], |body, pid| body.uint32(*pid));
    let serial = bus.call(&Method { member: "AttachProcessesToUnit", ..MANAGER }, "ssau", body);
    let what = || format!("move process {pid} into unit {}", unit.name);
    bus.answer(serial).doing(what)?.map_err(Error::from).doing(what).map(drop)
}

/// The cgroup of systemd's user instance, with a leading slash, below which its units are.
/// For the system instance that is the root of the tree.
pub fn user_manager_cgroup() -> Result<String> {
    const WHAT: &str = "ask systemd for its cgroup";
    let mut bus = Bus::connect(true)?;
    let mut body = Writer::default();
    body.text(MANAGER.interface);
    body.text("ControlGroup");
    let get = Method { interface: "org.freedesktop.DBus.Properties", member: "Get", ..MANAGER };
    let serial = bus.call(&get, "ss", body);
    let answer = bus.answer(serial).doing(|| WHAT)?.map_err(Error::from).doing(|| WHAT)?;
    let mut reader = Reader::new(&answer.body);
    match (reader.signature().as_deref(), reader.text()) {
        (Some("s"), Some(path)) => Ok(path),
        _ => bail!("{WHAT}: malformed reply"),
    }
}

/// The properties of every unit of firn.
fn base(unit: &Unit, pid: i32, description: &str) -> Vec<Property> {
    let text = |name: &str, value: &str| (name.to_owned(), Value::Text(value.to_owned()));
    let on = |name: &str| (name.to_owned(), Value::Bool(true));
    let mut list = vec![
        text("Description", description),
        ("DefaultDependencies".into(), Value::Bool(false)),
        text("Slice", &unit.slice),
        // The container manages the subtree: a systemd in it creates its own units.
        on("Delegate"),
        ("PIDs".into(), Value::Uint32s(vec![pid as u32])),
    ];
    list.extend(["CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting"].map(on));
    list
}

/// Calls a method that returns a job, and waits for its result.
fn run_job(
    bus: &mut Bus,
    member: &'static str,
    signature: &str,
    unit: &str,
    arguments: impl FnOnce(&mut Writer),
) -> Result<std::result::Result<String, bus::DbusError>> {
    bus.add_match(JOB_SIGNALS);
    // systemd sends JobRemoved only to clients that have subscribed.
    let subscribed = bus.call(&Method { member: "Subscribe", ..MANAGER }, "", Writer::default());
    let mut body = Writer::default();
    arguments(&mut body);
    let serial = bus.call(&Method { member, ..MANAGER }, signature, body);
    // AlreadySubscribed is no error.
    let _ = bus.answer(subscribed)?;
    let job = match bus.answer(serial)? {
        Err(error) => return Ok(Err(error)),
        Ok(answer) => Reader::new(&answer.body).text(),
    };
    loop {
        let signal = bus.wait_for(|message| message.member.as_deref() == Some("JobRemoved"))?;
        let mut reader = Reader::new(&signal.body);
        let (_, path, name, result) = (reader.uint32(), reader.text(), reader.text(), reader.text());
        if path == job && name.as_deref() == Some(unit) {
            return Ok(Ok(result.unwrap_or_default()));
        }
    }
}

fn reset_failed(bus: &mut Bus, unit: &Unit) -> u32 {
    let mut body = Writer::default();
    body.text(&unit.name);
    bus.call(&Method { member: "ResetFailedUnit", ..MANAGER }, "s", body)
}
