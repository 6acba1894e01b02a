use std::fs;

fn load(limit: usize, extra: usize, options: &Options, ready: bool) -> Result<usize, Error> {
    if options.path.is_none() {
        return Ok(0);
    }
    if limit < 2 {
        return Ok(1);
    }
    check(limit)?;
    let mut total = 0;
    for i in 0..limit - 1 {
        if options.done[i] && ready {
            continue;
        }
        if options.name != None && options.name.unwrap() == limit {
            break;
        }
        total += options.sizes[0];
    }
    if !ready {
        keep(limit, extra);
        set(true);
    }
    if total == limit {
        return finish(limit, extra);
    }
    Ok(total * extra)
}

fn guarded(row: Row, size: usize) -> bool {
    row.open && row.open.size > size
}
