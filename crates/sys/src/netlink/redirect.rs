//! Redirecting everything that one interface receives out of another.
//!
//! An `ingress` queueing discipline with one `u32` filter that matches every packet and a `mirred`
//! action; `matchall` would be simpler but is missing in some kernels. Spec: tc-u32(8), tc-mirred(8).

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption,
    TcActionType, TcAttribute, TcFilterU32, TcFilterU32Option, TcHandle, TcMessage, TcMirror,
    TcMirrorActionType, TcOption, TcU32Key, TcU32Selector, TcU32SelectorFlags,
};

use super::Netlink;

/// The handle that every `ingress` discipline has.
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0 };
/// `ETH_P_ALL`, every protocol; the kernel wants it in network byte order.
const EVERY_PROTOCOL: u16 = 0x0003;
/// The filter's place among others; we have only one.
const PRIORITY: u32 = 1;

impl Netlink {
    /// Sends every packet that interface `from` receives out of interface `to`.
    ///
    /// # Errors
    ///
    /// `EEXIST` when `from` has an ingress discipline already, `ENOENT` when the kernel lacks
    /// `ingress`, `u32` or `mirred`.
    pub fn redirect(&mut self, from: u32, to: u32) -> io::Result<()> {
        let kind = TcAttribute::Kind("ingress".to_owned());
        let discipline = message(from, INGRESS, TcHandle::INGRESS, vec![kind]);
        let new = NLM_F_CREATE | NLM_F_EXCL;
        self.change(RouteNetlinkMessage::NewQueueDiscipline(discipline), new)?;

        let options = vec![
            TcOption::U32(TcFilterU32Option::Selector(every_packet())),
            TcOption::U32(TcFilterU32Option::Action(vec![out_of(to)])),
        ];
        let kind = TcAttribute::Kind(TcFilterU32::KIND.to_owned());
        let attributes = vec![kind, TcAttribute::Options(options)];
        let mut filter = message(from, TcHandle::UNSPEC, INGRESS, attributes);
        filter.header.info = PRIORITY << 16 | u32::from(EVERY_PROTOCOL.to_be());
        let added = self.change(RouteNetlinkMessage::NewTrafficFilter(filter), new);
        if added.is_err() {
            let _ = self.undo_redirect(from);
        }
        added
    }

    /// Takes a redirection away again.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `EINVAL` when there is none, `ENODEV` when the interface is gone.
    pub fn undo_redirect(&mut self, from: u32) -> io::Result<()> {
        let discipline = message(from, INGRESS, TcHandle::INGRESS, Vec::new());
        self.change(RouteNetlinkMessage::DelQueueDiscipline(discipline), 0)
    }
}

pub(super) fn message(
    index: u32,
    handle: TcHandle,
    parent: TcHandle,
    attributes: Vec<TcAttribute>,
) -> TcMessage {
    // The kernel numbers interfaces by an int; a number beyond names none, as 0 does.
    let mut message = TcMessage::with_index(i32::try_from(index).unwrap_or(0));
    message.header.handle = handle;
    message.header.parent = parent;
    message.attributes = attributes;
    message
}

/// One key whose mask is empty: any word of any packet fits it.
fn every_packet() -> TcU32Selector {
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    selector.nkeys = 1;
    selector.keys = vec![TcU32Key::default()];
    selector
}

fn out_of(index: u32) -> TcAction {
    let mut mirror = TcMirror::default();
    mirror.generic.action = TcActionType::Stolen;
    mirror.eaction = TcMirrorActionType::EgressRedir;
    mirror.ifindex = index;
    let parameters = TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror));
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
        TcActionAttribute::Options(vec![parameters]),
    ];
    action
}
