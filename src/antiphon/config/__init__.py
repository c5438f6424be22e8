"""The settings of a recipe as frozen dataclasses: data, tokenizer, model, attention, training, validation, generation.

>>> from antiphon.recipe import from_mapping
>>> from_mapping({"data": {"train": [("in 3 hours", "in 3 Stunden")]}, "training": {"max_steps": 9}}).model.d_model
256

The docstring under a field is the help of its flag on the command line. Standard library only.
"""

from __future__ import annotations

from antiphon.config.data import DataConfig as DataConfig
from antiphon.config.data import Shares as Shares
from antiphon.config.data import SourceConfig as SourceConfig
from antiphon.config.data import is_files as is_files
from antiphon.config.data import source_list as source_list
from antiphon.config.distillation import DistillationConfig as DistillationConfig
from antiphon.config.family import FamilyConfig as FamilyConfig
from antiphon.config.generation import GenerationConfig as GenerationConfig
from antiphon.config.image import ImageConfig as ImageConfig
from antiphon.config.inputs import AudioConfig as AudioConfig
from antiphon.config.inputs import InputSettings as InputSettings
from antiphon.config.model import PRESETS as PRESETS
from antiphon.config.model import ROLES as ROLES
from antiphon.config.model import AttentionConfig as AttentionConfig
from antiphon.config.model import BaseConfig as BaseConfig
from antiphon.config.model import ModelConfig as ModelConfig
from antiphon.config.model import Role as Role
from antiphon.config.tokenizer import TOKENIZER_KINDS as TOKENIZER_KINDS
from antiphon.config.tokenizer import SideConfig as SideConfig
from antiphon.config.tokenizer import TokenizerConfig as TokenizerConfig
from antiphon.config.tokenizer import VocabularyConfig as VocabularyConfig
from antiphon.config.training import AdapterConfig as AdapterConfig
from antiphon.config.training import GroupConfig as GroupConfig
from antiphon.config.training import TrainingConfig as TrainingConfig
from antiphon.config.training import ValidationConfig as ValidationConfig
from antiphon.config.training import precision_name as precision_name
from antiphon.config.whole import TrainConfig as TrainConfig
from antiphon.settings import field_docs as field_docs
from antiphon.settings import from_json_mapping as from_json_mapping
from antiphon.settings import override as override
