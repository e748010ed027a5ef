//! A gate that another process holds.

use super::*;

/// An agent that answers one notice, and returns it.
fn agent(sandbox: &Sandbox, answer: Answer) -> thread::JoinHandle<Notice> {
    agent_that_works(sandbox, Duration::ZERO, answer)
}

/// An agent that first works on it for so long, and reports that.
fn agent_that_works(
    sandbox: &Sandbox,
    long: Duration,
    answer: Answer,
) -> thread::JoinHandle<Notice> {
    let listener = UnixListener::bind(sandbox.path("run/agent.sock")).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let mut say = |answer: &Answer| {
            let mut line = serde_json::to_string(answer).unwrap();
            line.push('\n');
            stream.write_all(line.as_bytes()).unwrap();
        };
        let working = Answer {
            working: true,
            ..Answer::default()
        };
        let begin = Instant::now();
        while begin.elapsed() < long {
            say(&working);
            thread::sleep(WORKING_EVERY);
        }
        say(&answer);
        serde_json::from_str(&line).unwrap()
    })
}

/// Its answer when it has done it.
fn done() -> Answer {
    Answer {
        done: true,
        ..Answer::default()
    }
}

#[test]
fn a_gate_that_an_agent_holds_is_left_to_the_agent() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    let attachment = sandbox.attachment("blue", "net1", &tcp("http", 8080));
    attach(&sandbox, &attachment);
    let held = Gate::open(&sandbox.store(), sandbox.netns())
        .unwrap()
        .unwrap();
    let agent = agent(&sandbox, done());
    let del = sandbox.call(&plugin, "DEL", "1.0.0");
    del.must();
    let notice = agent.join().unwrap();
    assert_eq!(
        (notice.event, notice.attachment),
        (Event::Detached, attachment)
    );
    held.verify().unwrap();
    assert_eq!(sandbox.attachments().all().unwrap(), []);
}

#[test]
fn an_agent_that_is_working_is_waited_for() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    let _held = Gate::open(&sandbox.store(), sandbox.netns())
        .unwrap()
        .unwrap();
    let agent = agent_that_works(&sandbox, TIMEOUT + WORKING_EVERY, done());
    sandbox.call(&plugin, "DEL", "1.0.0").must();
    assert!(agent.join().unwrap().progress);
}

#[test]
fn what_an_agent_refuses_is_not_forgotten() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    let _held = Gate::open(&sandbox.store(), sandbox.netns())
        .unwrap()
        .unwrap();
    let no = Answer {
        why: Some("not today".into()),
        ..Answer::default()
    };
    let agent = agent(&sandbox, no);
    let reply = sandbox.call(&plugin, "DEL", "1.0.0").run();
    agent.join().unwrap();
    assert_eq!(reply.code(), Some(102));
    assert!(reply.details().contains("not today"), "{reply:?}");
    assert_eq!(sandbox.attachments().all().unwrap().len(), 1);
}

#[test]
fn a_gate_that_somebody_else_holds_is_tried_again_later() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    let held = Gate::open(&sandbox.store(), sandbox.netns())
        .unwrap()
        .unwrap();
    let del = sandbox.call(&plugin, "DEL", "1.0.0");
    let reply = del.run();
    assert_eq!(reply.code(), Some(11), "{reply:?}");
    drop(held);
    del.must();
    assert_eq!(sandbox.left(), nothing());
}
