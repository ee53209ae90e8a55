//! Builds the rival in C++ where a compiler finds Boost's headers; elsewhere it is left out and says so when it runs.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_boost)");
    println!("cargo::rerun-if-changed=src/rivals/boost/queue.cpp");
    println!("cargo::rerun-if-env-changed=BOOST_INCLUDE");
    #[cfg(feature = "boost")]
    boost();
}

#[cfg(feature = "boost")]
fn boost() {
    let include = std::env::var_os("BOOST_INCLUDE").unwrap_or_else(|| "/usr/include".into());
    let header = std::path::Path::new(&include).join("boost/interprocess/ipc/message_queue.hpp");
    if !header.exists() {
        return;
    }
    let mut build = cc::Build::new();
    build.cpp(true).std("c++14").opt_level(3).warnings(false);
    if std::env::var_os("BOOST_INCLUDE").is_some() {
        build.include(include);
    }
    match build
        .file("src/rivals/boost/queue.cpp")
        .try_compile("compare_boost")
    {
        Ok(()) => println!("cargo::rustc-cfg=has_boost"),
        Err(error) => println!("cargo::warning=no C++ compiler for Boost.Interprocess: {error}"),
    }
}
