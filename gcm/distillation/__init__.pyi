from .launcher import is_leader as is_leader
from .recipe import AugmentationRecipe as AugmentationRecipe
from .recipe import DistillRecipe as DistillRecipe
from .recipe import find_recipe as find_recipe
from .recipe import load_recipe as load_recipe
from .teachers import create_teacher as create_teacher
from .trainer import TrainingProgress as TrainingProgress
from .trainer import distill as distill
