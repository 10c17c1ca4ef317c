//! Parts, sealed and opened, and the manifest that closes a package.
