//! The walk: device, policy and route, gate, socket, reply. The first stage that fails is the verdict.

use super::{
    case::{Case, End, Steps},
    explanation::{Explanation, Sees, Verdict},
};
use crate::facts::{Facts, Question};

impl Facts {
    /// What becomes of the packet.
    #[must_use]
    pub fn explain(&self, question: &Question) -> Explanation {
        let mut steps = Steps::default();
        let end = self.walk(question, &mut steps).unwrap_or_else(|end| end);
        steps.ended(end)
    }

    fn walk(&self, question: &Question, steps: &mut Steps) -> Result<End, End> {
        let case = self.device(question, steps)?;
        case.walk(steps).map_err(|end| match end.sees {
            Sees::Refused | Sees::Unreachable if !case.errors_arrive() => End {
                sees: Sees::Silence,
                ..end
            },
            _ => end,
        })
    }
}

impl Case<'_> {
    fn walk(&self, steps: &mut Steps) -> Result<End, End> {
        self.route(steps)?;
        let passage = self.gate(steps)?;
        let taken = self.socket(steps)?;
        if self.past_vrf().is_some() {
            return Err(self.answer_past_vrf(steps));
        }
        self.reply(taken.socket, passage.rule.as_deref(), steps)?;
        let advice = [passage.advice, taken.advice]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        Ok(End {
            verdict: Verdict::Served,
            sees: Sees::Answer,
            advice: if advice.is_empty() {
                "nothing to do".to_owned()
            } else {
                advice.join("; ")
            },
        })
    }
}
