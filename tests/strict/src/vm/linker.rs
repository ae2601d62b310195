//! The imports of the module: memory in, memory out, and the rules in between.

use wasmtime::{Caller, Engine, Extern, Linker, Result};

use super::{Vm, fields::Edit, status};

type Guest<'a> = Caller<'a, Vm>;

/// Everything that a proxy-wasm module can import.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<Vm>> {
    let mut linker = Linker::new(engine);
    maps(&mut linker)?;
    data(&mut linker)?;
    calls(&mut linker)?;
    rest(&mut linker)?;
    wasi(&mut linker)?;
    Ok(linker)
}

fn maps(linker: &mut Linker<Vm>) -> Result<()> {
    let env = "env";
    linker.func_wrap(
        env,
        "proxy_get_header_map_pairs",
        |mut guest: Guest<'_>, map: u32, data: u32, size: u32| {
            let pairs = guest.data_mut().map_pairs(map)?;
            give(&mut guest, &pairs, data, size)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_get_header_map_value",
        |mut guest: Guest<'_>, map: u32, name: u32, name_size: u32, data: u32, size: u32| {
            let name = read(&mut guest, name, name_size)?;
            let value = guest.data_mut().map_value(map, &name)?;
            give_maybe(&mut guest, value, data, size)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_set_header_map_pairs",
        |mut guest: Guest<'_>, map: u32, data: u32, size: u32| -> Result<u32> {
            let pairs = read(&mut guest, data, size)?;
            Ok(guest.data_mut().set_map(map, &pairs)?)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_replace_header_map_value",
        |mut guest: Guest<'_>,
         map: u32,
         name: u32,
         name_size: u32,
         value: u32,
         size: u32|
         -> Result<u32> {
            let name = read(&mut guest, name, name_size)?;
            let value = read(&mut guest, value, size)?;
            Ok(guest.data_mut().edit_map(map, &name, Edit::Replace(&value))?)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_add_header_map_value",
        |mut guest: Guest<'_>,
         map: u32,
         name: u32,
         name_size: u32,
         value: u32,
         size: u32|
         -> Result<u32> {
            let name = read(&mut guest, name, name_size)?;
            let value = read(&mut guest, value, size)?;
            Ok(guest.data_mut().edit_map(map, &name, Edit::Add(&value))?)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_remove_header_map_value",
        |mut guest: Guest<'_>, map: u32, name: u32, name_size: u32| -> Result<u32> {
            let name = read(&mut guest, name, name_size)?;
            Ok(guest.data_mut().edit_map(map, &name, Edit::Remove)?)
        },
    )?;
    Ok(())
}

fn data(linker: &mut Linker<Vm>) -> Result<()> {
    let env = "env";
    linker.func_wrap(
        env,
        "proxy_get_property",
        |mut guest: Guest<'_>, path: u32, path_size: u32, data: u32, size: u32| {
            let path = read(&mut guest, path, path_size)?;
            let value = guest.data_mut().get_property(&path)?;
            give_maybe(&mut guest, value, data, size)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_set_property",
        |mut guest: Guest<'_>, path: u32, path_size: u32, data: u32, size: u32| -> Result<u32> {
            let path = read(&mut guest, path, path_size)?;
            let value = read(&mut guest, data, size)?;
            guest.data_mut().set_property(&path, &value)?;
            Ok(status::OK)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_get_buffer_bytes",
        |mut guest: Guest<'_>, buffer: u32, start: u32, max: u32, data: u32, size: u32| {
            let bytes = guest.data_mut().buffer(buffer, start, max)?;
            give_maybe(&mut guest, bytes, data, size)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_set_buffer_bytes",
        |mut guest: Guest<'_>,
         buffer: u32,
         start: u32,
         replaced: u32,
         data: u32,
         size: u32|
         -> Result<u32> {
            let bytes = read(&mut guest, data, size)?;
            Ok(guest.data_mut().set_buffer(buffer, start, replaced, &bytes)?)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_get_shared_data",
        |mut guest: Guest<'_>, key: u32, key_size: u32, data: u32, size: u32, cas: u32| {
            let key = read(&mut guest, key, key_size)?;
            match guest.data_mut().get_shared(&key)? {
                None => Ok(status::NOT_FOUND),
                Some((value, number)) => {
                    write(&mut guest, cas, &number.to_le_bytes())?;
                    give(&mut guest, &value, data, size)
                }
            }
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_set_shared_data",
        |mut guest: Guest<'_>,
         key: u32,
         key_size: u32,
         data: u32,
         size: u32,
         cas: u32|
         -> Result<u32> {
            let key = read(&mut guest, key, key_size)?;
            let value = if data == 0 { None } else { Some(read(&mut guest, data, size)?) };
            Ok(guest.data_mut().set_shared(&key, value.as_deref(), cas)?)
        },
    )?;
    Ok(())
}

fn calls(linker: &mut Linker<Vm>) -> Result<()> {
    let env = "env";
    linker.func_wrap(
        env,
        "proxy_http_call",
        |mut guest: Guest<'_>,
         target: u32,
         target_size: u32,
         headers: u32,
         headers_size: u32,
         body: u32,
         body_size: u32,
         _trailers: u32,
         _trailers_size: u32,
         timeout_ms: u32,
         token: u32|
         -> Result<u32> {
            let target = read(&mut guest, target, target_size)?;
            let headers = read(&mut guest, headers, headers_size)?;
            let body = read(&mut guest, body, body_size)?;
            match guest.data_mut().dispatch(&target, &headers, body, timeout_ms)? {
                Err(refusal) => Ok(refusal),
                Ok(number) => {
                    write(&mut guest, token, &number.to_le_bytes())?;
                    Ok(status::OK)
                }
            }
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_send_local_response",
        |mut guest: Guest<'_>,
         code: u32,
         _details: u32,
         _details_size: u32,
         body: u32,
         body_size: u32,
         headers: u32,
         headers_size: u32,
         _grpc_status: u32|
         -> Result<u32> {
            let body = read(&mut guest, body, body_size)?;
            let headers = read(&mut guest, headers, headers_size)?;
            Ok(guest.data_mut().answer(code, &headers, body)?)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_continue_stream",
        |mut guest: Guest<'_>, stream: u32| -> Result<u32> { Ok(guest.data_mut().resume(stream)?) },
    )?;
    linker.func_wrap(
        env,
        "proxy_set_effective_context",
        |mut guest: Guest<'_>, context: u32| guest.data_mut().set_effective(context),
    )?;
    linker.func_wrap(env, "proxy_done", |_: Guest<'_>| status::OK)?;
    Ok(())
}

fn rest(linker: &mut Linker<Vm>) -> Result<()> {
    let env = "env";
    linker.func_wrap(
        env,
        "proxy_log",
        |mut guest: Guest<'_>, level: u32, data: u32, size: u32| -> Result<u32> {
            let text = read(&mut guest, data, size)?;
            guest.data_mut().log(level, &text);
            Ok(status::OK)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_get_log_level",
        |mut guest: Guest<'_>, level: u32| -> Result<u32> {
            write(&mut guest, level, &2_u32.to_le_bytes())?;
            Ok(status::OK)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_get_current_time_nanoseconds",
        |mut guest: Guest<'_>, time: u32| -> Result<u32> {
            let now = nanoseconds(&guest);
            write(&mut guest, time, &now.to_le_bytes())?;
            Ok(status::OK)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_set_tick_period_milliseconds",
        |mut guest: Guest<'_>, ms: u32| -> Result<u32> { Ok(guest.data_mut().set_tick(ms)?) },
    )?;
    linker.func_wrap(
        env,
        "proxy_define_metric",
        |mut guest: Guest<'_>, kind: u32, name: u32, name_size: u32, id: u32| -> Result<u32> {
            let name = read(&mut guest, name, name_size)?;
            let Some(number) = guest.data_mut().define_metric(kind, &name)? else {
                return Ok(status::BAD_ARGUMENT);
            };
            write(&mut guest, id, &number.to_le_bytes())?;
            Ok(status::OK)
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_increment_metric",
        |mut guest: Guest<'_>, id: u32, offset: i64| guest.data_mut().increment_metric(id, offset),
    )?;
    linker.func_wrap(env, "proxy_record_metric", |mut guest: Guest<'_>, id: u32, value: u64| {
        guest.data_mut().record_metric(id, value)
    })?;
    linker.func_wrap(
        env,
        "proxy_get_metric",
        |mut guest: Guest<'_>, id: u32, value: u32| -> Result<u32> {
            match guest.data_mut().metric(id) {
                Err(refusal) => Ok(refusal),
                Ok(found) => {
                    write(&mut guest, value, &found.to_le_bytes())?;
                    Ok(status::OK)
                }
            }
        },
    )?;
    linker.func_wrap(
        env,
        "proxy_call_foreign_function",
        |mut guest: Guest<'_>, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| -> Result<u32> {
            if guest.data().on_kong() {
                return Err(guest.data_mut().unmeasured("proxy_call_foreign_function").into());
            }
            Ok(status::NOT_FOUND)
        },
    )?;
    macro_rules! unmeasured {
        ($($name:literal ($($argument:ty),*);)*) => {$(
            linker.func_wrap(env, $name, |mut guest: Guest<'_>, $(_: $argument),*| -> Result<u32> {
                Err(guest.data_mut().unmeasured($name).into())
            })?;
        )*};
    }
    unmeasured! {
        "proxy_close_stream" (u32);
        "proxy_get_status" (u32, u32, u32);
        "proxy_register_shared_queue" (u32, u32, u32);
        "proxy_resolve_shared_queue" (u32, u32, u32, u32, u32);
        "proxy_dequeue_shared_queue" (u32, u32, u32);
        "proxy_enqueue_shared_queue" (u32, u32, u32);
        "proxy_grpc_call" (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);
        "proxy_grpc_stream" (u32, u32, u32, u32, u32, u32, u32, u32, u32);
        "proxy_grpc_send" (u32, u32, u32, u32);
        "proxy_grpc_cancel" (u32);
        "proxy_grpc_close" (u32);
    }
    Ok(())
}

/// As much of WASI as Rust's standard library may ask for; time and chance are the test's.
fn wasi(linker: &mut Linker<Vm>) -> Result<()> {
    let wasi = "wasi_snapshot_preview1";
    linker.func_wrap(
        wasi,
        "random_get",
        |mut guest: Guest<'_>, data: u32, size: u32| -> Result<u32> {
            let size = usize::try_from(size)?;
            let mut bytes = vec![0; size];
            guest.data_mut().random.fill(&mut bytes);
            write(&mut guest, data, &bytes)?;
            Ok(0)
        },
    )?;
    linker.func_wrap(
        wasi,
        "clock_time_get",
        |mut guest: Guest<'_>, _clock: u32, _precision: u64, time: u32| -> Result<u32> {
            let now = nanoseconds(&guest);
            write(&mut guest, time, &now.to_le_bytes())?;
            Ok(0)
        },
    )?;
    // The environment is fixed, and empty.
    linker.func_wrap(wasi, "environ_get", |_: Guest<'_>, _: u32, _: u32| 0_u32)?;
    linker.func_wrap(
        wasi,
        "environ_sizes_get",
        |mut guest: Guest<'_>, count: u32, size: u32| -> Result<u32> {
            write(&mut guest, count, &[0; 4])?;
            write(&mut guest, size, &[0; 4])?;
            Ok(0)
        },
    )?;
    linker.func_wrap(
        wasi,
        "fd_write",
        |mut guest: Guest<'_>, _fd: u32, parts: u32, count: u32, written: u32| -> Result<u32> {
            let mut total = 0_u32;
            for index in 0..count {
                let part = read(&mut guest, parts.wrapping_add(index.wrapping_mul(8)), 8)?;
                let (Some((data, rest)), true) = (part.split_first_chunk::<4>(), part.len() == 8)
                else {
                    break;
                };
                let Some((size, _)) = rest.split_first_chunk::<4>() else { break };
                let text = read(&mut guest, u32::from_le_bytes(*data), u32::from_le_bytes(*size))?;
                total = total.wrapping_add(u32::try_from(text.len())?);
                guest.data_mut().stderr.push_str(&String::from_utf8_lossy(&text));
            }
            write(&mut guest, written, &total.to_le_bytes())?;
            Ok(0)
        },
    )?;
    linker.func_wrap(wasi, "proc_exit", |_: Guest<'_>, code: u32| -> Result<()> {
        Err(wasmtime::Error::msg(format!("the guest exited with {code}")))
    })?;
    Ok(())
}

fn nanoseconds(guest: &Guest<'_>) -> u64 {
    guest.data().shared.borrow().clock.now_ms().saturating_mul(1_000_000)
}

fn memory(guest: &mut Guest<'_>) -> Result<wasmtime::Memory> {
    let memory = guest.get_export("memory").and_then(Extern::into_memory);
    memory.ok_or_else(|| wasmtime::Error::msg("the module exports no memory"))
}

fn read(guest: &mut Guest<'_>, at: u32, size: u32) -> Result<Vec<u8>> {
    if size == 0 {
        return Ok(Vec::new());
    }
    let memory = memory(guest)?;
    let start = usize::try_from(at)?;
    let end = start.saturating_add(usize::try_from(size)?);
    let bytes = memory.data(&guest).get(start..end);
    bytes
        .map(<[u8]>::to_vec)
        .ok_or_else(|| wasmtime::Error::msg("a pointer out of the guest's memory"))
}

fn write(guest: &mut Guest<'_>, at: u32, bytes: &[u8]) -> Result<()> {
    let memory = memory(guest)?;
    memory.write(&mut *guest, usize::try_from(at)?, bytes)?;
    Ok(())
}

/// Passes bytes to the guest, in memory that it allocates for them.
fn give(guest: &mut Guest<'_>, bytes: &[u8], data: u32, size: u32) -> Result<u32> {
    let length = u32::try_from(bytes.len())?;
    let at = if length == 0 {
        0
    } else {
        let allocate = guest.get_export("proxy_on_memory_allocate").and_then(Extern::into_func);
        let Some(allocate) = allocate else {
            return Err(wasmtime::Error::msg("the module exports no proxy_on_memory_allocate"));
        };
        allocate.typed::<u32, u32>(&guest)?.call(&mut *guest, length)?
    };
    if length > 0 {
        write(guest, at, bytes)?;
    }
    write(guest, data, &at.to_le_bytes())?;
    write(guest, size, &length.to_le_bytes())?;
    Ok(status::OK)
}

fn give_maybe(guest: &mut Guest<'_>, bytes: Option<Vec<u8>>, data: u32, size: u32) -> Result<u32> {
    match bytes {
        Some(bytes) => give(guest, &bytes, data, size),
        None => Ok(status::NOT_FOUND),
    }
}
