use offheap::functions::resolve::resolve;
use offheap::probes::*;
use offheap::stack::ModuleId;
use std::time::*;
use tracer_common::config::Config;
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let pid: u32 = a[1].parse()?;
    let interval: u64 = a[2].parse()?;
    let t = Instant::now();
    let mut p = Probes::load(
        pid,
        Config {
            tgid: pid,
            stack_pages: 16,
            sample_interval: interval,
            max_size: u64::MAX,
            ..Default::default()
        },
        Capacities {
            ring_bytes: 16 << 20,
            blocks: 1 << 20,
            streams: 1 << 16,
            threads: 1 << 14,
        },
        0,
    )?;
    eprintln!("loaded {:?}", t.elapsed());
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut seen = std::collections::HashSet::new();
    for l in maps.lines() {
        let f: Vec<&str> = l.split_whitespace().collect();
        if f.len() < 6
            || !f[5].starts_with('/')
            || !f[1].contains('x')
            || !seen.insert(f[5].to_string())
        {
            continue;
        }
        let path = format!("/proc/{pid}/map_files/{}", f[0]);
        let Ok(file) = std::fs::File::open(&path) else {
            eprintln!("no {path}");
            continue;
        };
        let t1 = Instant::now();
        let fs = resolve(&file);
        eprintln!(
            "{} {} functions, resolve {:?}",
            f[5],
            fs.len(),
            t1.elapsed()
        );
        for x in fs {
            let t1 = Instant::now();
            let pt = Point::new(ModuleId(0), x);
            eprint!(
                "  {} +{} {} {} ",
                pt.symbol, pt.placement.offset, pt.placement.instruction, pt.placement.emulated
            );
            p.attach(vec![pt], path.as_ref());
            eprintln!("{:?} {:?}", p.points.last().unwrap().error, t1.elapsed());
        }
    }
    eprintln!("attached {:?}", t.elapsed());
    let t = Instant::now();
    eprintln!("{:?} {:?}", calibrate()?, t.elapsed());
    std::thread::sleep(Duration::from_secs(a[3].parse()?));
    let mut n = [0u64; 10];
    let mut b = 0;
    p.drain(|r| {
        n[r[0] as usize] += 1;
        b += r.len()
    });
    eprintln!("records {n:?} bytes {b}");
    for (pt, c) in p.points.iter().zip(p.counts()?) {
        if c.0[0] > 0 {
            eprintln!("{} {:?}", pt.symbol, c.0);
        }
    }
    let mut n = 0;
    let mut by = 0;
    p.live_blocks(|_, b| {
        n += 1;
        by += b.size
    })?;
    eprintln!("live {n} {by}");
    let t = Instant::now();
    let mut ns = 0;
    p.live_streams(|_, _| ns += 1)?;
    eprintln!("streams {ns}");
    eprintln!(
        "in flight {:?} {:?}",
        p.in_flight()?.iter().sum::<u64>(),
        t.elapsed()
    );
    eprintln!("detach {:?}", p.detach());
    Ok(())
}
