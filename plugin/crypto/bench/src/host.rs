//! Runs a command for wasm32-wasip1 with nothing but its arguments, the clock and its output, and
//! says how long compiling and instantiating it takes. Every other import does nothing.

use std::{env, io::Write, process, time::Instant};

use wasmtime::{
    Caller, Engine, ExternType, Instance, Linker, Memory, Module, Result, Store, Val,
    error::Context as _,
};

const WASI: &str = "wasi_snapshot_preview1";
const INSTANCES: u32 = 200;

pub(crate) fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let path = args.first().context("usage: verify-speed MODULE.wasm [ARGUMENT]...")?;
    let engine = Engine::default();
    let start = Instant::now();
    let module = Module::from_file(&engine, path)?;
    eprintln!("compiled in {:?}", start.elapsed());

    let linker = linker(&engine, &module)?;
    let ready = linker.instantiate_pre(&module)?;
    let start = Instant::now();
    for _ in 0..INSTANCES {
        ready.instantiate(&mut Store::new(&engine, Vec::new()))?;
    }
    eprintln!("instantiated in {:?}", start.elapsed() / INSTANCES);

    let mut store = Store::new(&engine, args);
    let instance: Instance = ready.instantiate(&mut store)?;
    // A filter has no `_start`; there is nothing more to do with it.
    if let Ok(command) = instance.get_typed_func::<(), ()>(&mut store, "_start") {
        command.call(&mut store, ())?;
    }
    Ok(())
}

type Args = Vec<String>;

fn linker(engine: &Engine, module: &Module) -> Result<Linker<Args>> {
    let mut linker: Linker<Args> = Linker::new(engine);
    let start = Instant::now();
    linker.func_wrap(
        WASI,
        "clock_time_get",
        move |mut caller: Caller<'_, Args>, _: i32, _: i64, out: i32| -> Result<i32> {
            let ns = start.elapsed().as_nanos() as u64;
            write(&mut caller, out, &ns.to_le_bytes())
        },
    )?;
    linker.func_wrap(
        WASI,
        "fd_write",
        |mut caller: Caller<'_, Args>, _: i32, parts: i32, count: i32, out: i32| -> Result<i32> {
            let memory = memory(&mut caller)?;
            let data = memory.data(&caller);
            let mut written = 0;
            for part in 0..count {
                let at = read_u32(data, parts + 8 * part)? as usize;
                let length = read_u32(data, parts + 8 * part + 4)? as usize;
                let bytes = data.get(at..at + length).context("out of bounds")?;
                std::io::stdout().write_all(bytes)?;
                written += length as u32;
            }
            write(&mut caller, out, &written.to_le_bytes())
        },
    )?;
    linker.func_wrap(
        WASI,
        "args_sizes_get",
        |mut caller: Caller<'_, Args>, count: i32, size: i32| -> Result<i32> {
            let args = caller.data();
            let (n, bytes) =
                (args.len() as u32, args.iter().map(|arg| arg.len() as u32 + 1).sum::<u32>());
            write(&mut caller, count, &n.to_le_bytes())?;
            write(&mut caller, size, &bytes.to_le_bytes())
        },
    )?;
    linker.func_wrap(
        WASI,
        "args_get",
        |mut caller: Caller<'_, Args>, mut pointers: i32, mut text: i32| -> Result<i32> {
            for arg in caller.data().clone() {
                write(&mut caller, pointers, &text.to_le_bytes())?;
                write(&mut caller, text, &[arg.as_bytes(), &[0]].concat())?;
                pointers += 4;
                text += arg.len() as i32 + 1;
            }
            Ok(0)
        },
    )?;
    linker.func_wrap(WASI, "proc_exit", |code: i32| -> () { process::exit(code) })?;
    for import in module.imports() {
        let ExternType::Func(ty) = import.ty() else { continue };
        if linker.get(&mut Store::new(engine, Vec::new()), import.module(), import.name()).is_err()
        {
            let nothing: Vec<Val> = ty
                .results()
                .map(|ty| Val::default_for_ty(&ty).context("no default"))
                .collect::<Result<_>>()?;
            linker.func_new(import.module(), import.name(), ty, move |_, _, results| {
                results.clone_from_slice(&nothing);
                Ok(())
            })?;
        }
    }
    Ok(linker)
}

fn memory(caller: &mut Caller<'_, Args>) -> Result<Memory> {
    caller.get_export("memory").and_then(|export| export.into_memory()).context("no memory")
}

fn read_u32(data: &[u8], at: i32) -> Result<u32> {
    let at = at as usize;
    let bytes = data.get(at..at + 4).context("out of bounds")?;
    Ok(u32::from_le_bytes(bytes.try_into()?))
}

fn write(caller: &mut Caller<'_, Args>, at: i32, bytes: &[u8]) -> Result<i32> {
    memory(caller)?.write(caller, at as usize, bytes)?;
    Ok(0)
}
