//! Agreement keys of the senders, age identity of the receiver.
