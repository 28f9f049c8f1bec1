//! How nftables is told something: the pieces of rules.

use nftables::expr::{Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix};
use nftables::schema::{Map, NfListObject, Set, SetType, SetTypeValue};
use nftables::stmt::{Match, NATFamily, Operator, Statement};
use nftables::types::NfFamily;
use std::borrow::Cow;
use std::net::IpAddr;

/// An address family, and how nftables calls what is of it.
#[derive(Clone, Copy)]
pub struct Family {
    /// Ends the names of its maps and sets.
    pub digit: char,
    /// The packet's header.
    pub header: &'static str,
    pub nat: NATFamily,
    pub address: SetType,
    pub loopback: (&'static str, u32),
}

pub const V4: Family =
    Family { digit: '4', header: "ip", nat: NATFamily::IP, address: SetType::Ipv4Addr, loopback: ("127.0.0.0", 8) };
pub const V6: Family =
    Family { digit: '6', header: "ip6", nat: NATFamily::IP6, address: SetType::Ipv6Addr, loopback: ("::1", 128) };

pub fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { V4 } else { V6 }
}

pub fn map(table: &str, name: String, key: &[SetType], value: SetType) -> NfListObject<'static> {
    NfListObject::Map(Box::new(Map {
        family: NfFamily::INet,
        table: table.to_owned().into(),
        name: name.into(),
        set_type: SetTypeValue::Concatenated(Cow::Owned(key.to_vec())),
        map: SetTypeValue::Single(value),
        ..Map::default()
    }))
}

pub fn set(table: &str, name: String, kinds: &[SetType]) -> NfListObject<'static> {
    let set_type = match kinds {
        [kind] => SetTypeValue::Single(*kind),
        kinds => SetTypeValue::Concatenated(Cow::Owned(kinds.to_vec())),
    };
    NfListObject::Set(Box::new(Set {
        family: NfFamily::INet,
        table: table.to_owned().into(),
        name: name.into(),
        set_type,
        ..Set::default()
    }))
}

pub fn matches(left: Expression<'static>, op: Operator, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op })
}

pub fn header(family: Family, field: &'static str) -> Expression<'static> {
    payload(family.header, field)
}

pub fn payload(protocol: &'static str, field: &'static str) -> Expression<'static> {
    let field = PayloadField { protocol: protocol.into(), field: field.into() };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

pub fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

pub fn text(value: &impl ToString) -> Expression<'static> {
    Expression::String(value.to_string().into())
}

/// `127.0.0.0/8`, or `::1`.
pub fn loopback(family: Family) -> Expression<'static> {
    let (address, len) = family.loopback;
    Expression::Named(NamedExpression::Prefix(Prefix { addr: Box::new(Expression::String(address.into())), len }))
}
