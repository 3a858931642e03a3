//! `POST /containers/ID/ports`: ports of a container that runs. Hull's own page; Docker has none like it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::containers::create::{PortBody, ports};
use crate::containers::view;
use crate::reply;
use crate::route::Answer;

/// Both are like `HostConfig.PortBindings`. What `Remove` does not say of a port means all of it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct Body {
    add: BTreeMap<String, Option<Vec<PortBody>>>,
    remove: BTreeMap<String, Option<Vec<PortBody>>>,
}

/// `POST /containers/ID/ports`; answers with all ports that it has then.
pub(crate) async fn change(call: &mut Call, id: &str) -> Answer {
    let Body { add, remove } = call.json().await?;
    let (add, remove) =
        (add.into_iter().map(ports).collect(), remove.into_iter().map(ports).collect());
    call.engine.change_ports(id, add, remove).await?;
    let container = call.engine.inspect(id).await?;
    Ok(reply::ok(&json!({ "Ports": view::ports(&container) })))
}
