//! Registering through masters, removing nodes, and what all nodes are told to do: real nodes on real sockets, in this process.

mod jobs;
mod registration;
mod removal;
mod support;
