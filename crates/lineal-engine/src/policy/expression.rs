//! CEL expressions within limits: the interpreter has none of its own for time and stack.
//!
//! Three fences. Before parsing: size, brackets, and the number of operators, which bounds how deep the parser and the
//! interpreter can recurse. After parsing: known names and functions only, and two levels of comprehensions. Before
//! running: an estimate of the steps from the sizes of the record's lists.

use std::fmt;
use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, operators};
use cel::{Context, Env, IdedExpr, Program};

use super::record::Facts;
use crate::pipeline::suggest::hint;

/// Longest expression.
pub const EXPRESSION_LIMIT_BYTES: usize = 4096;
/// Most brackets that are open at once.
const BRACKET_LIMIT: usize = 24;
/// Most operators, dots and brackets, those in texts included.
pub const OPERATOR_LIMIT: usize = 300;
/// Most `all`, `exists`, `filter`, `map` within one another.
pub const NESTING_LIMIT: usize = 2;
/// Most steps that an evaluation may take, as estimated. That many take less than a second.
pub const COST_LIMIT: u64 = 1_000_000;

/// What an expression may name.
const NAMES: [&str; 10] = [
    "model",
    "environment",
    "gates",
    "approvals",
    "approvers",
    "provenance",
    "run",
    "promotions",
    "incidents",
    "now",
];

/// What an expression may call, besides operators and the macros, which are gone after parsing.
const FUNCTIONS: [&str; 11] =
    ["size", "contains", "startsWith", "endsWith", "int", "uint", "double", "string", "bool", "type", "dyn"];

/// Operators and what macros expand to.
const OPERATORS: [&str; 18] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
];

/// Why a text is not an acceptable expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Beyond a limit that bounds time and memory.
    #[error("{0}; write simpler rules")]
    Limit(String),
    /// Not CEL.
    #[error("not a CEL expression: {0}")]
    Syntax(String),
    /// A name that no record has.
    #[error("`{name}` is not known{hint}")]
    Name {
        /// The name.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// A function that does not exist.
    #[error("function `{name}` is not known{hint}")]
    Function {
        /// The function.
        name: String,
        /// What may have been meant.
        hint: String,
    },
}

/// Why a rule could not be decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RunError {
    #[error("deciding would take about {0} steps; at most {COST_LIMIT} are made")]
    Cost(u64),
    #[error("yields a value of type {0}; a rule must yield true or false")]
    NotBool(&'static str),
    #[error("{0}")]
    Failed(String),
}

/// A compiled expression.
pub(super) struct Expression {
    source: String,
    program: Program,
    env: Arc<Env>,
}

impl Expression {
    pub(super) fn compile(source: &str) -> Result<Self, ExpressionError> {
        check_text(source)?;
        let env = Env::stdlib().with_optional_support(false);
        let program = env.compile(source).map_err(|errors| {
            let first = errors.errors.first().map(|error| error.msg.as_str()).unwrap_or("cannot be read");
            ExpressionError::Syntax(short(first))
        })?;
        Checker { scope: Vec::new(), nesting: 0 }.check(program.expression())?;
        Ok(Self { source: source.to_owned(), program, env: Arc::new(env) })
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn holds(&self, facts: &Facts) -> Result<bool, RunError> {
        let cost = Cost { facts }.of(self.program.expression());
        if cost > COST_LIMIT {
            return Err(RunError::Cost(cost));
        }
        let mut context = Context::with_env(Arc::clone(&self.env));
        for (name, value) in &facts.variables {
            context.add_variable_from_value(name.as_str(), value.clone());
        }
        match self.program.execute(&context) {
            Ok(cel::Value::Bool(held)) => Ok(held),
            Ok(other) => Err(RunError::NotBool(type_name(&other))),
            Err(error) => Err(RunError::Failed(short(&error.to_string()))),
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

/// Bounds what the parser is given. Characters in texts count too: a lexer here could disagree with the real one.
fn check_text(source: &str) -> Result<(), ExpressionError> {
    let limit = |what: String| Err(ExpressionError::Limit(what));
    if source.len() > EXPRESSION_LIMIT_BYTES {
        return limit(format!("{} bytes; at most {EXPRESSION_LIMIT_BYTES}", source.len()));
    }
    if source.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(ExpressionError::Syntax("it contains a control character".to_owned()));
    }
    let (mut open, mut operators_seen) = (0_usize, source.matches("in").count());
    for c in source.chars() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > BRACKET_LIMIT {
            return limit(format!("more than {BRACKET_LIMIT} brackets are open at once"));
        }
        operators_seen += usize::from("([{.+-*/%!<>=&|?:".contains(c));
    }
    if operators_seen > OPERATOR_LIMIT {
        return limit(format!("more than {OPERATOR_LIMIT} operators, dots and brackets"));
    }
    Ok(())
}

/// Walks the tree, whose depth [`check_text`] has bounded.
struct Checker<'a> {
    scope: Vec<&'a str>,
    nesting: usize,
}

impl<'a> Checker<'a> {
    fn check(&mut self, node: &'a IdedExpr) -> Result<(), ExpressionError> {
        match &node.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.check(&select.operand),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.check(element)),
            Expr::Call(call) => self.call(call),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.check(&entry.key)?;
                    self.check(&entry.value)
                }
                EntryExpr::StructField(_) => Err(unsupported("a message literal")),
            }),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(_) => Err(unsupported("a message literal")),
            Expr::Unspecified => Err(unsupported("an empty expression")),
        }
    }

    fn name(&self, name: &str) -> Result<(), ExpressionError> {
        if NAMES.contains(&name) || self.scope.contains(&name) {
            return Ok(());
        }
        let hint = hint(name, NAMES.into_iter().chain(self.scope.iter().copied()));
        Err(ExpressionError::Name { name: short(name), hint })
    }

    fn call(&mut self, call: &'a CallExpr) -> Result<(), ExpressionError> {
        let name = call.func_name.as_str();
        if !FUNCTIONS.contains(&name) && !OPERATORS.contains(&name) && name != operators::NOT_STRICTLY_FALSE {
            let hint = hint(
                name,
                FUNCTIONS.into_iter().chain(["has", "all", "exists", "exists_one", "map", "filter"]),
            );
            return Err(ExpressionError::Function { name: short(name), hint });
        }
        if let Some(target) = &call.target {
            self.check(target)?;
        }
        call.args.iter().try_for_each(|argument| self.check(argument))
    }

    fn comprehension(&mut self, inner: &'a ComprehensionExpr) -> Result<(), ExpressionError> {
        if self.nesting == NESTING_LIMIT {
            return Err(ExpressionError::Limit(format!(
                "more than {NESTING_LIMIT} of all, exists, filter and map within one another"
            )));
        }
        if NAMES.contains(&inner.iter_var.as_str()) {
            let name = &inner.iter_var;
            return Err(ExpressionError::Syntax(format!(
                "loop variable `{name}` hides the record's `{name}`"
            )));
        }
        self.check(&inner.iter_range)?;
        self.check(&inner.accu_init)?;
        self.nesting += 1;
        let outer = self.scope.len();
        self.scope.extend([inner.iter_var.as_str(), inner.accu_var.as_str()]);
        self.scope.extend(inner.iter_var2.as_deref());
        let body = [&inner.loop_cond, &inner.loop_step, &inner.result];
        let checked = body.into_iter().try_for_each(|part| self.check(part));
        self.scope.truncate(outer);
        self.nesting -= 1;
        checked
    }
}

/// Estimates steps: a loop takes its body times the elements it goes over. These are written down, or those of a list
/// in the record, or, where that is not obvious, as many as the record's largest list has.
struct Cost<'a> {
    facts: &'a Facts,
}

impl Cost<'_> {
    fn of(&self, node: &IdedExpr) -> u64 {
        let inner = match &node.expr {
            Expr::Literal(_) | Expr::Ident(_) | Expr::Unspecified | Expr::Struct(_) => 0,
            Expr::Select(select) => self.of(&select.operand),
            Expr::List(list) => self.sum(list.elements.iter()),
            Expr::Map(map) => self.sum(map.entries.iter().flat_map(|entry| {
                match &entry.expr {
                    EntryExpr::MapEntry(entry) => [Some(&entry.key), Some(&entry.value)],
                    EntryExpr::StructField(field) => [Some(&field.value), None],
                }
                .into_iter()
                .flatten()
            })),
            Expr::Call(call) => {
                let whole = match call.func_name.as_str() {
                    operators::IN => call.args.iter().map(|argument| self.elements(argument)).max(),
                    operators::ADD | operators::EQUALS | operators::NOT_EQUALS => {
                        call.args.iter().map(|argument| self.compared(argument)).max()
                    }
                    _ => None,
                };
                whole
                    .unwrap_or(0)
                    .saturating_add(self.sum(call.target.as_deref().into_iter().chain(&call.args)))
            }
            Expr::Comprehension(part) => {
                let body = self.sum([&part.loop_cond, &part.loop_step].into_iter());
                let once = self.sum([&part.iter_range, &part.accu_init, &part.result].into_iter());
                self.elements(&part.iter_range).saturating_mul(body).saturating_add(once)
            }
        };
        inner.saturating_add(1)
    }

    fn sum<'a>(&self, nodes: impl Iterator<Item = &'a IdedExpr>) -> u64 {
        nodes.fold(0, |sum, node| sum.saturating_add(self.of(node)))
    }

    /// Elements that going over the value visits.
    fn elements(&self, node: &IdedExpr) -> u64 {
        match &node.expr {
            Expr::Literal(_) | Expr::Unspecified | Expr::Struct(_) => 1,
            Expr::List(list) => list.elements.len() as u64,
            Expr::Map(map) => map.entries.len() as u64,
            Expr::Call(call) if call.func_name == operators::ADD => {
                call.args.iter().fold(0, |sum, argument| sum.saturating_add(self.elements(argument)))
            }
            Expr::Comprehension(part) => self.elements(&part.iter_range),
            Expr::Ident(name) => self.facts.elements(name),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(name) => self.facts.elements(&format!("{name}.{}", select.field)),
                _ => self.facts.largest,
            },
            Expr::Call(_) => self.facts.largest,
        }
    }

    /// Elements that comparing or joining the value visits. A field is taken for a scalar here, because it nearly
    /// always is one: `g.name == name`.
    fn compared(&self, node: &IdedExpr) -> u64 {
        match &node.expr {
            Expr::Literal(_) | Expr::Select(_) | Expr::Unspecified | Expr::Struct(_) => 1,
            Expr::Ident(name) if !NAMES.contains(&name.as_str()) => 1,
            Expr::Call(call) if call.func_name != operators::ADD => 1,
            Expr::Ident(_) | Expr::Call(_) | Expr::List(_) | Expr::Map(_) | Expr::Comprehension(_) => {
                self.elements(node)
            }
        }
    }
}

fn unsupported(what: &str) -> ExpressionError {
    ExpressionError::Syntax(format!("{what} is not supported in rules"))
}

fn type_name(value: &cel::Value) -> &'static str {
    match value {
        cel::Value::Int(_) => "int",
        cel::Value::UInt(_) => "uint",
        cel::Value::Float(_) => "double",
        cel::Value::String(_) => "string",
        cel::Value::List(_) => "list",
        cel::Value::Map(_) => "map",
        cel::Value::Null => "null",
        _ => "another type",
    }
}

fn short(text: &str) -> String {
    const LIMIT_CHARS: usize = 200;
    let line = text.replace(['\n', '\r'], " ");
    if line.chars().count() <= LIMIT_CHARS {
        line
    } else {
        line.chars().take(LIMIT_CHARS).chain("...".chars()).collect()
    }
}
