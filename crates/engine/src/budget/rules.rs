//! Which budgets bound whom.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use privet_domain::budget::{Allowance, Budget, BudgetScope, ZoneName};
use privet_domain::id::ApiKeyId;

/// A budget with its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The budget.
    pub budget: Budget,
    /// Its id.
    pub id: Arc<str>,
}

impl Rule {
    fn new(budget: Budget) -> Arc<Self> {
        Arc::new(Self { id: budget.id().into(), budget })
    }
}

/// Whoever spends.
#[derive(Clone, Copy, Debug)]
pub struct Spender<'a> {
    /// The first of the line of keys that the key belongs to.
    pub family_id: ApiKeyId,
    /// The user.
    pub user_id: &'a str,
    /// The project's name.
    pub project: &'a str,
    /// The key's own budgets.
    pub allowances: &'a [Allowance],
}

/// The budgets of the configuration, and how they meet those of the keys.
pub struct BudgetRules {
    configured: Vec<Arc<Rule>>,
    zone: ZoneName,
    /// By key, made at its first call. A key's user and project never change.
    made: Mutex<HashMap<ApiKeyId, Made>>,
}

struct Made {
    allowances: Vec<Allowance>,
    rules: Arc<[Arc<Rule>]>,
}

impl BudgetRules {
    /// From the configuration; `zone` is that of keys' budgets that name none.
    #[must_use]
    pub fn new(configured: Vec<Budget>, zone: ZoneName) -> Self {
        Self { configured: configured.into_iter().map(Rule::new).collect(), zone, made: Mutex::default() }
    }

    /// Those of the configuration.
    pub(super) fn configured(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.configured.iter()
    }

    /// All that bound a spender. Of a key's own budget and one of the configuration for the same key and period the tighter holds.
    #[must_use]
    pub fn of(&self, spender: &Spender<'_>) -> Arc<[Arc<Rule>]> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(&spender.family_id)
            && known.allowances == spender.allowances
        {
            return known.rules.clone();
        }
        let rules = self.make(spender);
        made.insert(spender.family_id, Made { allowances: spender.allowances.to_vec(), rules: rules.clone() });
        rules
    }

    fn make(&self, spender: &Spender<'_>) -> Arc<[Arc<Rule>]> {
        let bounds = |rule: &&Arc<Rule>| match &rule.budget.scope {
            BudgetScope::Global => true,
            BudgetScope::Project(name) => name == spender.project,
            BudgetScope::User(id) => id == spender.user_id,
            BudgetScope::Key(id) => *id == spender.family_id,
        };
        let mut rules: Vec<Arc<Rule>> = self.configured.iter().filter(bounds).cloned().collect();
        for allowance in spender.allowances {
            let own = Rule::new(Budget::new(BudgetScope::Key(spender.family_id), allowance, &self.zone));
            match rules.iter_mut().find(|rule| rule.id == own.id) {
                // One balance for one id: the tighter of the two amounts holds.
                Some(same) if same.budget.amount <= own.budget.amount => {}
                Some(same) => *same = own,
                None => rules.push(own),
            }
        }
        rules.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spender_is_bound_by_everybodys_its_projects_its_users_and_its_own_budgets() {
        let key = ApiKeyId::new();
        let budget = |scope: BudgetScope, text: &str| Budget::new(scope, &text.parse().unwrap(), &ZoneName::utc());
        let rules = BudgetRules::new(
            vec![
                budget(BudgetScope::Global, "100/month"),
                budget(BudgetScope::Project("shop".to_owned()), "10/day"),
                budget(BudgetScope::Project("other".to_owned()), "10/day"),
                budget(BudgetScope::User("ola".to_owned()), "5/week"),
                budget(BudgetScope::Key(key), "3/day"),
            ],
            ZoneName::utc(),
        );
        let ids = |allowances: &[&str], project: &str| {
            let allowances: Vec<Allowance> = allowances.iter().map(|text| text.parse().unwrap()).collect();
            let spender = Spender { family_id: key, user_id: "ola", project, allowances: &allowances };
            rules.of(&spender).iter().map(|rule| format!("{} {}", rule.id, rule.budget.amount)).collect::<Vec<_>>()
        };
        let own = format!("key/{key}/day");
        assert_eq!(
            ids(&["1/day", "2/total"], "shop"),
            [
                "global/month $100.00".to_owned(),
                "project/shop/day $10.00".to_owned(),
                "user/ola/week $5.00".to_owned(),
                format!("{own} $1.00"),
                format!("key/{key}/total $2.00"),
            ]
        );
        assert_eq!(ids(&["9/day"], "shop").last(), Some(&format!("{own} $3.00")), "changed, and the tighter one holds");
    }
}
