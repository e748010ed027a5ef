//! A newcomer's path: the commands of docs/cluster.md, run exactly as they stand, and timed.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use tokio::task::block_in_place;

use crate::{
    kit::eventually,
    scene::{REACHED_SSH, REFUSED, SSH, Scene},
    suite::{Suite, Test, tests},
    vm::{directory, said},
};

pub fn tests() -> Vec<Test> {
    tests![a_release_is_what_a_newcomer_gets_who_follows_the_readme]
}

const CHAPTER: &str = "\n## Use it in a cluster\n";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The commands of the chapter of a document, up to its first section, and what is shown of their output.
fn steps(document: &str) -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(repository().join(document)).unwrap();
    let (_, chapter) = text.split_once(CHAPTER).expect("the chapter");
    let (chapter, _) = chapter.split_once("\n##").expect("another one");
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for block in chapter.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").expect("its end");
        for line in block.lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push((command.to_owned(), Vec::new())),
                (None, Some((_, shown))) => shown.push(line.to_owned()),
                (None, None) => panic!("{line}: output of no command"),
            }
        }
    }
    steps
}

impl Scene<'_> {
    /// Types it on the administrator's machine, in the directory of this repository.
    fn types(&self, command: &str) -> String {
        let programs = ["KUBECTL", "HELM"].map(|name| {
            let program = env::var_os(name).unwrap_or_else(|| panic!("{name} is not set"));
            PathBuf::from(program).parent().map(Path::to_owned)
        });
        let path = env::var_os("PATH").unwrap_or_default();
        // Behind what is there: one of the directories may hold another compiler.
        let path = env::split_paths(&path).chain(programs.into_iter().flatten());
        let output = Command::new("bash")
            .args(["-c", command])
            .current_dir(repository())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PATH", env::join_paths(path).unwrap())
            .output()
            .unwrap();
        let said_on = |stream: &[u8]| String::from_utf8_lossy(stream).into_owned();
        assert!(
            output.status.success(),
            "{command}: {}{}\n{}",
            said_on(&output.stdout),
            said_on(&output.stderr),
            said()
        );
        said_on(&output.stdout)
    }
}

/// The columns of a table, without those that differ for each cluster: the number of nodes, and the age.
fn columns(row: &str) -> Vec<&str> {
    let columns = row.split_whitespace().take(6);
    columns.filter(|column| !column.contains('/')).collect()
}

async fn a_release_is_what_a_newcomer_gets_who_follows_the_readme(suite: &Suite) {
    let in_short = steps("README.md");
    let steps = steps("docs/cluster.md");
    for step in &in_short {
        assert!(steps.contains(step), "{step:?} stands in README.md only");
    }
    let mut scene = Scene::new(suite).await;
    scene.vm.sees(SSH, REFUSED);
    let begun = Instant::now();
    for (command, shown) in &steps {
        let at = Instant::now();
        if let Some(import) = command.strip_prefix("ctr ") {
            // On the node, where the repository isn't.
            let image = import
                .split_whitespace()
                .find(|word| word.contains(".oci.tar"));
            let image = repository().join(image.expect("an image"));
            let there = directory().join("newcomer.tar");
            std::fs::copy(image, &there).unwrap();
            scene.vm.tell(&format!("import {}", there.display()));
        } else if shown.is_empty() {
            block_in_place(|| scene.types(command));
        } else {
            eventually(&format!("{shown:?}"), async || {
                let said = block_in_place(|| scene.types(command));
                if said
                    .lines()
                    .map(columns)
                    .eq(shown.iter().map(|row| columns(row)))
                {
                    Ok(())
                } else {
                    Err(said)
                }
            })
            .await;
            scene.vm.sees(SSH, REACHED_SSH);
        }
        println!("{:6.1} s  {command}", at.elapsed().as_secs_f64());
    }
    println!("{:6.1} s in all", begun.elapsed().as_secs_f64());
    scene.is_as_before().await;
    scene.end();
}
